"""The area under the precision-recall curve of the heatmap's pixels: of single images, and PxAP, of all together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.metrics.overlap import threshold_counts
from vitcam.evaluation.together import PXAP


class PixelCounts(NamedTuple):
    """Pixels at or above each threshold. Counts of images add up to the counts of a dataset.

    Attributes:
        hits: those inside the mask, per image and threshold, thresholds descending.
        predicted: those anywhere.
        truth: all pixels of the mask, per image.
    """

    hits: Int[Tensor, "*batch thresholds"]
    predicted: Int[Tensor, "*batch thresholds"]
    truth: Int[Tensor, "*batch"]


def pixel_counts(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    ignore: Bool[Tensor, "batch height width"] | None = None,
    steps: int = 1000,
) -> PixelCounts:
    """Counts for ``pixel_average_precision``, at the thresholds 1, 1 − 1/steps, …, 0.

    Args:
        heatmaps: on the patch grid; upsampled to the masks (bilinear) and min-maxed.
        masks: the true regions, all of one size.
        ignore: pixels that count nowhere.
        steps: how finely 0..1 is divided.
    """
    maps = pixel_maps(heatmaps, (masks.shape[1], masks.shape[2]))
    thresholds = torch.arange(steps + 1, dtype=maps.dtype, device=maps.device) / steps
    # The float just below τ: strictly above it is at least τ.
    below = torch.nextafter(thresholds, torch.full_like(thresholds, -torch.inf))
    hits, predicted = threshold_counts(maps, masks, below, ignore)
    truth = masks if ignore is None else masks & ~ignore
    return PixelCounts(hits.flip(1), predicted.flip(1), truth.sum((1, 2)))


def pixel_average_precision(counts: PixelCounts) -> Float[Tensor, "*batch"]:
    """AP = Σ_l precision(τ_l)·(recall(τ_l) − recall(τ_{l−1})), thresholds descending, recall(τ_0) = 0.

    Of each image; ``pooled_average_precision`` is that of all images' pixels together. NaN where the mask is empty.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> pixel_average_precision(pixel_counts(heatmaps, masks))
        tensor([0.3398], dtype=torch.float64)
    """
    precision = counts.hits.double() / counts.predicted.clamp(min=1)
    recall = counts.hits.double() / counts.truth.unsqueeze(-1)
    gained = torch.diff(recall, prepend=torch.zeros_like(recall[..., :1]))
    return (precision * gained).sum(-1)


def pooled_average_precision(
    hits: Real[Tensor, "images thresholds"], predicted: Real[Tensor, "images thresholds"]
) -> float:
    """PxAP: the average precision of all images' pixels together, every pixel of the dataset weighing the same.

    This is a number of all images together, not a mean. Source: Choe et al. 2020, arXiv 2001.07437; their code leaves
    out the first term of the sum.

    Args:
        hits, predicted: as of :func:`pixel_counts`, down to threshold 0, at which every pixel is predicted.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> counts = pixel_counts(heatmaps, masks)
        >>> pooled_average_precision(counts.hits, counts.predicted)
        0.3398...
    """
    return PXAP.of(hits.cpu().double().numpy(), predicted.cpu().double().numpy())


EVERY = 10
"""Of the thresholds, which one in how many is kept in a row, for PxAP: 101 of 1001."""


def measured(case: LocalizationCase) -> Numbers:
    """The columns of ``pixel-ap``."""
    counts = pixel_counts(case.heatmaps, case.regions, case.void)
    return {
        "pixel_ap": pixel_average_precision(counts),
        "pixel_hits_curve": counts.hits[:, ::EVERY].double(),
        "pixel_predicted_curve": counts.predicted[:, ::EVERY].double(),
    }

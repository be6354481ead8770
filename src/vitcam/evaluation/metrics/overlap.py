"""How well a region agrees with the true one: five numbers from three counts of pixels, at many thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import MetricError

EPSILON = 1e-5
OVERLAP_SCORES = ("pixel_accuracy", "iou", "dice", "precision", "recall")


def overlap_scores(
    hits: Int[Tensor, "*batch"],
    predicted: Int[Tensor, "*batch"],
    truth: Int[Tensor, "*#batch"],
    pixels: Int[Tensor, "*#batch"],
) -> dict[str, Tensor]:
    """Pixel accuracy, IoU, Dice, precision and recall, each a fraction 0..1 in float64.

    With P the predicted and T the true region, N the number of pixels and ε = 1e-5 added above and below:
    accuracy = (N − |P∖T| − |T∖P|)/N, IoU = |P∩T|/|P∪T|, Dice = 2|P∩T|/(|P| + |T|), precision = |P∩T|/|P|,
    recall = |P∩T|/|T|. Because of ε, two empty regions agree perfectly, and an empty prediction has precision
    1.

    Source: the localization protocol of AGCAM (arXiv 2402.04563).

    Args:
        hits: |P∩T|.
        predicted: |P|.
        truth: |T|.
        pixels: N.

    Example:
        >>> counts = (torch.tensor(count) for count in (2, 4, 2, 100))
        >>> round(overlap_scores(*counts)["iou"].item(), 4)
        0.5
    """
    wrong = (predicted - hits) + (truth - hits)
    return {
        "pixel_accuracy": _ratio(pixels - wrong, pixels),
        "iou": _ratio(hits, predicted + truth - hits),
        "dice": _ratio(2 * hits, predicted + truth),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, truth),
    }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return (part.double() + EPSILON) / (whole.double() + EPSILON)


THRESHOLDS = tuple(step / 100 for step in range(100))


def threshold_counts(
    maps: Float[Tensor, "batch height width"],
    masks: Bool[Tensor, "batch height width"],
    thresholds: Float[Tensor, " thresholds"] | Sequence[float] = THRESHOLDS,
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> tuple[Int[Tensor, "batch thresholds"], Int[Tensor, "batch thresholds"]]:
    """For every threshold: how many pixels are strictly above it inside the mask, and in the whole image.

    One pass over the pixels, however many thresholds: each pixel is counted once under the number of
    thresholds that it exceeds.

    Args:
        maps: heatmaps in 0..1, as large as the masks.
        masks: the true regions.
        thresholds: ascending.
        ignore: pixels that count nowhere, such as the "void" border of VOC's masks.

    Raises:
        MetricError: the thresholds aren't ascending.

    Example:
        >>> maps = torch.tensor([[[0.1, 0.4], [0.6, 0.9]]])
        >>> threshold_counts(maps, maps > 0.5, [0.25, 0.5, 0.75])
        (tensor([[2, 2, 1]]), tensor([[3, 2, 1]]))
    """
    edges = torch.as_tensor(thresholds, dtype=maps.dtype, device=maps.device)
    if (edges.diff() < 0).any():
        raise MetricError(f"expected ascending thresholds, got {edges.tolist()}: sort them")
    exceeded = torch.bucketize(maps, edges)
    counted = torch.ones_like(masks) if ignore is None else ~ignore
    return _at_least(exceeded, counted & masks, len(edges)), _at_least(exceeded, counted, len(edges))


def _at_least(
    exceeded: Int[Tensor, "batch height width"], counted: Bool[Tensor, "batch height width"], thresholds: int
) -> Int[Tensor, "batch thresholds"]:
    batch = len(exceeded)
    row = torch.arange(batch, device=exceeded.device).view(-1, 1, 1) * (thresholds + 1)
    histogram = torch.bincount((exceeded + row)[counted], minlength=batch * (thresholds + 1))
    return histogram.view(batch, -1).flip(1).cumsum(1).flip(1)[:, 1:]

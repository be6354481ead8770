"""Chefer's segmentation test: the map, cut at its mean, as a segmentation into object and background."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import pixel_maps


def segmentation_scores(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> dict[str, Float[Tensor, "batch ..."]]:
    """What the segmentation test of arXiv 2012.09838 adds up, to the letter of its authors' code.

    L is upsampled bilinearly and min-maxed; pixels strictly above its mean are the object, the others background. Of
    all images together, intersections I and unions U of both classes c are added up before they are divided, and so
    are right pixels and all pixels: mIoU = ½ Σ_c ΣI_c / ΣU_c, pixel accuracy = Σ(I_0 + I_1) / ΣN
    (``vitcam.evaluation.together``). Means over images are:

    - mAP: the average precision Σ_n (R_n − R_{n−1}) P_n of the 2N scores L and 1 − L against object and background,
      all distinct scores as thresholds;
    - mF1: the mean over the image's *rows of pixels* of 2·TP/(2·TP + FP + FN), 0 in rows where map and mask are
      empty. The authors' function takes the rows of one image for a batch of images, and their published numbers are
      so; the F1 of whole images is ``mask_dice``.

    A constant map is background everywhere and scores 0 for both classes alike, as theirs does.

    Args:
        heatmaps: on the patch grid.
        masks: the true regions.
        ignore: pixels that count nowhere; ImageNet-Segmentation has none.

    Returns:
        ``ap`` and ``f1`` (batch,), and ``counts`` (batch, 5): I and U of background and object, and N.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> scores = segmentation_scores(heatmaps, masks)
        >>> scores["counts"].tolist(), round(scores["ap"].item(), 3)
        ([[33158.0, 4044.0, 46132.0, 17018.0, 50176.0]], 0.746)
    """
    maps = pixel_maps(heatmaps, (masks.shape[1], masks.shape[2]))
    counted = torch.ones_like(masks) if ignore is None else ~ignore
    objects = (maps > maps.mean((1, 2), keepdim=True)) & counted
    truth = masks & counted
    hits, both = (objects & truth).double(), (objects | truth).double()
    pixels = counted.sum((1, 2)).double()
    inter, union = hits.sum((1, 2)), both.sum((1, 2))
    # what is in neither is rightly background, and what isn't rightly object is in the background's union
    counts = torch.stack([pixels - union, inter, pixels - inter, union, pixels], dim=1)
    in_row = objects.sum(2).double() + truth.sum(2)
    f1 = 2 * hits.sum(2) / in_row.clamp(min=1)
    return {
        "counts": counts,
        "ap": torch.stack([_two_class_ap(*of_image) for of_image in zip(maps, truth, counted, strict=True)]),
        "f1": f1.mean(1),
    }


def _two_class_ap(
    map01: Float[Tensor, "height width"],
    truth: Bool[Tensor, "height width"],
    counted: Bool[Tensor, "height width"],
) -> Float[Tensor, ""]:
    heat, inside = map01[counted], truth[counted]
    background = 1 - heat if heat.any() else heat
    return average_precision(torch.cat([background, heat]), torch.cat([~inside, inside]))


def average_precision(scores: Float[Tensor, " items"], positive: Bool[Tensor, " items"]) -> Float[Tensor, ""]:
    """Σ_n (R_n − R_{n−1}) P_n over all distinct scores as thresholds, descending; 0 without a positive.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.8, 0.1]), torch.tensor([True, False, True, False]))
        tensor(0.8333, dtype=torch.float64)
    """
    ordered, order = scores.sort(descending=True)
    hits = positive[order].double().cumsum(0)
    last = torch.ones_like(ordered, dtype=torch.bool)  # of equal scores
    last[:-1] = ordered[:-1] != ordered[1:]
    predicted = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device)[last]
    hits = hits[last]
    gained = torch.diff(hits, prepend=hits.new_zeros(1)) / hits[-1].clamp(min=1)
    return (gained * hits / predicted).sum()


def measured(case: LocalizationCase) -> Numbers:
    """The columns of ``segmentation``; nothing for photographs without a mask."""
    if not case.masks:
        return {}
    scores = segmentation_scores(case.heatmaps, case.regions, case.void)
    return {
        f"segmentation_{name}": [
            value if truth.has_mask else None
            for value, truth in zip(values.tolist(), case.truths, strict=True)
        ]
        for name, values in scores.items()
    }

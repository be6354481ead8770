"""How well a thresholded heatmap agrees with a segmentation mask."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.metrics.overlap import OVERLAP_SCORES, THRESHOLDS, overlap_scores, threshold_counts


def mask_scores(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    thresholds: Sequence[float] = THRESHOLDS,
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> dict[str, Float[Tensor, "batch thresholds"]]:
    """The five numbers of ``overlap_scores`` between mask and heatmap, for every threshold.

    The heatmap is upsampled to the mask (bilinear), min-maxed, and its pixels strictly above a threshold are
    the prediction; no boxes are drawn. Source: the segmentation test of arXiv 2012.09838, swept.

    Args:
        heatmaps: on the patch grid.
        masks: the true regions, all of one size.
        thresholds: ascending, in 0..1.
        ignore: pixels that count nowhere.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> mask_scores(heatmaps, masks, [0.25, 0.5])["recall"]
        tensor([[0.2329, 0.1209]], dtype=torch.float64)
    """
    maps = pixel_maps(heatmaps, (masks.shape[1], masks.shape[2]))
    hits, predicted = threshold_counts(maps, masks, thresholds, ignore)
    counted = masks.new_ones(masks.shape) if ignore is None else ~ignore
    truth = (masks & counted).sum((1, 2)).unsqueeze(1)
    return overlap_scores(hits, predicted, truth, counted.sum((1, 2)).unsqueeze(1))


def measured(case: LocalizationCase) -> Numbers:
    """The columns of ``mask``; nothing for photographs without one."""
    if not case.masks:
        return {}
    thresholds = case.thresholds
    at = thresholds.index(case.threshold)
    overlaps = mask_scores(case.heatmaps, case.regions, thresholds, case.void)
    columns = {f"mask_{name}": overlaps[name][:, at] for name in OVERLAP_SCORES}
    columns["mask_iou_curve"] = overlaps["iou"]
    return {
        name: [
            value if truth.has_mask else None
            for value, truth in zip(values.tolist(), case.truths, strict=True)
        ]
        for name, values in columns.items()
    }

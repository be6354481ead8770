"""MaxBoxAcc: how often a box drawn around the heatmap hits a true box, at the best threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.boxes import boxes_from_heatmap
from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import Boxes, checked_boxes, pixel_maps
from vitcam.evaluation.metrics.overlap import THRESHOLDS
from vitcam.evaluation.together import MAX_BOX_ACCURACY_V2, best_threshold
from vitcam.types import Box


def largest_box_iou(
    heatmaps: Float[Tensor, "batch rows columns"],
    boxes: Iterable[Boxes],
    size: tuple[int, int] = (224, 224),
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "batch thresholds"]:
    """For every image and threshold: the IoU of the largest predicted box with the true box it fits best.

    The rows of ``max_box_accuracy``. Predicted boxes are the bounding rectangles of the outer contours of the
    pixels strictly above the threshold (upsampled, min-maxed); 0 where there are none. Boxes are compared as
    rectangles in the plane. Choe et al.'s code differs in details: it rounds the map to 8 bits, takes the
    contour that encloses the largest area instead of the largest rectangle, and counts one pixel more.

    Args:
        heatmaps: on the patch grid.
        boxes: per image the true boxes, in pixels of ``size``.
        size: (height, width) to upsample to.
        thresholds: ascending, in 0..1.

    Raises:
        MetricError: an image has no true box, or a box isn't (left, top, right, bottom).
    """
    return _best_ious(heatmaps, boxes, size, thresholds, lambda found: found[:1])


def best_box_iou(
    heatmaps: Float[Tensor, "batch rows columns"],
    boxes: Iterable[Boxes],
    size: tuple[int, int] = (224, 224),
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "batch thresholds"]:
    """As ``largest_box_iou``, but of all predicted boxes the one that fits a true box best: MaxBoxAccV2's."""
    return _best_ious(heatmaps, boxes, size, thresholds, lambda found: found)


def max_box_accuracy(ious: Float[Tensor, "images thresholds"], required: float = 0.5) -> float:
    """MaxBoxAcc(δ) = max_τ (fraction of images whose IoU at threshold τ is at least δ).

    The threshold is one for the whole dataset, so this is a number of all images together, not a mean.
    Source: Choe et al. 2020, arXiv 2001.07437 (with ``largest_box_iou``).

    Example:
        >>> max_box_accuracy(torch.tensor([[0.6, 0.4], [0.2, 0.5]]))
        0.5
    """
    return best_threshold("largest_box_iou_curve", required).of(ious.cpu().double().numpy())


def max_box_accuracy_v2(ious: Float[Tensor, "images thresholds"]) -> float:
    """MaxBoxAccV2 = mean of MaxBoxAcc(δ) over δ = 0.3, 0.5, 0.7, each at its own best threshold.

    Source: Choe et al. 2022, arXiv 2007.04178 (with ``best_box_iou``).
    """
    return MAX_BOX_ACCURACY_V2.of(ious.cpu().double().numpy())


def _best_ious(
    heatmaps: Float[Tensor, "batch rows columns"],
    boxes: Iterable[Boxes],
    size: tuple[int, int],
    thresholds: Sequence[float],
    chosen: Callable[[list[Box]], list[Box]],
) -> Float[Tensor, "batch thresholds"]:
    ious = []
    maps = pixel_maps(heatmaps, size).cpu()
    for map01, true_boxes in zip(maps, boxes, strict=True):
        truth = checked_boxes(true_boxes)
        for threshold in thresholds:
            predicted = boxes_from_heatmap(map01.numpy(), threshold)
            pairs = [(a, b) for a in chosen(predicted) for b in truth]
            ious.append(max((_iou(a, b) for a, b in pairs), default=0.0))
    return torch.tensor(ious, dtype=torch.float64).view(len(heatmaps), len(thresholds))


def _area(box: Box) -> float:
    return max(0.0, box.width) * max(0.0, box.height)


def _iou(a: Box, b: Box) -> float:
    shared = _area(
        Box(max(a.left, b.left), max(a.top, b.top), min(a.right, b.right), min(a.bottom, b.bottom))
    )
    union = _area(a) + _area(b) - shared
    return shared / union if union else 0.0


def measured(case: LocalizationCase) -> Numbers:
    """The columns of ``max-box-accuracy``."""
    arguments = case.heatmaps, case.boxes, case.size, case.thresholds
    return {
        "largest_box_iou_curve": largest_box_iou(*arguments),
        "best_box_iou_curve": best_box_iou(*arguments),
    }

"""The paper's localization scores: boxes around the hot regions against the true boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.boxes import boxes_from_heatmap, fill_boxes
from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import Boxes, checked_boxes, pixel_maps
from vitcam.evaluation.metrics.overlap import OVERLAP_SCORES, THRESHOLDS, overlap_scores


def localization_scores(
    heatmap: Float[Tensor, "rows columns"],
    boxes: Boxes,
    size: tuple[int, int] = (224, 224),
    threshold: float = 0.5,
) -> dict[str, float]:
    """The paper's five numbers for one image, its quirks included.

    The heatmap is upsampled to ``size`` (bilinear) and min-maxed; pixels strictly above ``threshold`` are
    hot; the bounding rectangle of every outer contour of the hot pixels is a predicted box. Predicted and
    true regions are the unions of their boxes, filled with both ends inclusive (so a box of width w covers w
    + 1 columns, as in the authors' code), and are compared by ``overlap_scores``, with ε = 1e-5.

    Source: arXiv 2402.04563 and the code published with it.

    Args:
        heatmap: on the patch grid; where an explanation has a ``region``, as
            ``explanation.upsampled(normalize=False)`` gives it.
        boxes: the true boxes (left, top, right, bottom), in pixels of ``size``.
        size: (height, width) to upsample to.
        threshold: in 0..1.

    Returns:
        ``pixel_accuracy``, ``iou``, ``dice``, ``precision`` and ``recall``, fractions 0..1.

    Raises:
        MetricError: there is no box, or one isn't (left, top, right, bottom) with left ≤ right, top ≤ bottom.

    Example:
        >>> e = vitcam.explain(photo_model, photo_path("cup"), targets="cup")
        >>> scores = localization_scores(e.heatmaps[0, 0], [(22, 4, 134, 160)], size=(168, 168))
        >>> {name: round(score, 1) for name, score in scores.items()}
        {'pixel_accuracy': 0.7, 'iou': 0.5, 'dice': 0.7, 'precision': 0.9, 'recall': 0.5}
    """
    scores = localization_sweep(heatmap.unsqueeze(0), [boxes], size, [threshold])
    return {name: values.item() for name, values in scores.items()}


def localization_sweep(
    heatmaps: Float[Tensor, "batch rows columns"],
    boxes: Iterable[Boxes],
    size: tuple[int, int] = (224, 224),
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, Float[Tensor, "batch thresholds"]]:
    """``localization_scores`` of a batch at many thresholds; each heatmap is upsampled once.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> localization_sweep(e.heatmaps[:, 0], [[(40, 30, 180, 200)]] * 8)["iou"].shape
        torch.Size([8, 100])
    """
    counts = []
    maps = pixel_maps(heatmaps, size).cpu()
    for map01, true_boxes in zip(maps, boxes, strict=True):
        truth = torch.from_numpy(fill_boxes(checked_boxes(true_boxes), size))
        for threshold in thresholds:
            predicted = torch.from_numpy(fill_boxes(boxes_from_heatmap(map01.numpy(), threshold), size))
            counts.append(((predicted & truth).sum(), predicted.sum(), truth.sum()))
    shape = (len(heatmaps), len(thresholds))
    hits, predicted_area, truth_area = (torch.stack(count).view(shape) for count in zip(*counts, strict=True))
    pixels = torch.tensor(size[0] * size[1])
    return overlap_scores(hits, predicted_area, truth_area, pixels)


def measured(case: LocalizationCase) -> Numbers:
    """The columns of ``iou``."""
    thresholds = case.thresholds
    sweep = localization_sweep(case.heatmaps, case.boxes, case.size, thresholds)
    at = thresholds.index(case.threshold)
    numbers = {name: sweep[name][:, at] for name in OVERLAP_SCORES}
    return numbers | {"iou_curve": sweep["iou"], "max_iou": sweep["iou"].amax(1)}

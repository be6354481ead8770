"""Rows of the localization task: does a method find the object?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.job import Job
from vitcam.evaluation.loading import Item
from vitcam.evaluation.metrics.energy import energy_inside
from vitcam.evaluation.metrics.localization import localization_sweep
from vitcam.evaluation.metrics.mask_overlap import mask_scores
from vitcam.evaluation.metrics.max_box_accuracy import best_box_iou, largest_box_iou
from vitcam.evaluation.metrics.overlap import OVERLAP_SCORES
from vitcam.evaluation.metrics.pixel_precision import pixel_average_precision, pixel_counts
from vitcam.evaluation.metrics.pointing import pointing_game
from vitcam.evaluation.protocol import Protocol
from vitcam.evaluation.rows import Row, Shape
from vitcam.explaining import compare

Numbers = dict[str, list[float] | list[list[float] | None] | list[float | None]]

_NUMBER: Shape = "number"
_CURVE: Shape = "curve"


def localization_columns(protocol: Protocol, masks: bool) -> Mapping[str, Shape]:
    """The numbers of a row.

    Args:
        protocol: ``paper`` has the five scores of boxes and their sweep, ``vitcam`` all others too.
        masks: whether the dataset has masks, so that ``vitcam`` compares with them.
    """
    columns: dict[str, Shape] = {**dict.fromkeys(OVERLAP_SCORES, _NUMBER), "iou_curve": _CURVE}
    if protocol == "vitcam":
        columns |= dict.fromkeys(("max_iou", "pxap", "pointing", "energy"), _NUMBER)
        columns |= {"largest_box_iou_curve": _CURVE, "best_box_iou_curve": _CURVE}
        if masks:
            columns |= dict.fromkeys((f"mask_{name}" for name in OVERLAP_SCORES), _NUMBER)
            columns |= {"mask_iou_curve": _CURVE}
    return columns


def localization_rows(items: Sequence[Item], job: Job) -> list[Row]:
    """One row per image and method, for the predicted class.

    Images whose prediction is wrong have rows without numbers, as the paper leaves them out.
    """
    explanations = compare(
        job.model.module, job.tensor(items), job.settings.methods, precision=job.settings.precision
    )
    predicted = next(iter(explanations.values())).targets[:, 0].tolist()
    scored = [i for i, item in enumerate(items) if predicted[i] in item.labels]
    rows = []
    for method, explanation in explanations.items():
        heatmaps = explanation.heatmaps[scored, 0].cpu()
        numbers = _scores(heatmaps, [items[i] for i in scored], [predicted[i] for i in scored], job)
        place = {i: k for k, i in enumerate(scored)}
        for i, (item, target) in enumerate(zip(items, predicted, strict=True)):
            row = job.row("localization", item, method, target, target)
            if i in place:
                row |= {name: values[place[i]] for name, values in numbers.items()}
                row["heatmap"] = heatmaps[place[i]].numpy()
            rows.append(row)
    return rows


def _scores(
    heatmaps: Float[Tensor, "batch rows columns"],
    items: Sequence[Item],
    targets: Sequence[int],
    job: Job,
) -> Numbers:
    if not items:
        return {}
    numbers = _box_scores(heatmaps, items, targets, job)
    if job.settings.protocol == "vitcam":
        numbers |= _region_scores(heatmaps, items, targets, job)
    return numbers


def _box_scores(heatmaps: Tensor, items: Sequence[Item], targets: Sequence[int], job: Job) -> Numbers:
    thresholds, size = job.settings.thresholds, job.model.preprocessing.size
    boxes = [item.truths[target].boxes for item, target in zip(items, targets, strict=True)]
    sweep = localization_sweep(heatmaps, boxes, size, thresholds)
    at = thresholds.index(job.settings.threshold)
    numbers: Numbers = {name: sweep[name][:, at].tolist() for name in OVERLAP_SCORES}
    numbers["iou_curve"] = sweep["iou"].tolist()
    if job.settings.protocol == "vitcam":
        numbers["max_iou"] = sweep["iou"].amax(1).tolist()
        numbers["largest_box_iou_curve"] = largest_box_iou(heatmaps, boxes, size, thresholds).tolist()
        numbers["best_box_iou_curve"] = best_box_iou(heatmaps, boxes, size, thresholds).tolist()
    return numbers


def _region_scores(heatmaps: Tensor, items: Sequence[Item], targets: Sequence[int], job: Job) -> Numbers:
    truths = [item.truths[target] for item, target in zip(items, targets, strict=True)]
    regions, void = (
        torch.from_numpy(np.stack([getattr(truth, name) for truth in truths])) for name in ("region", "void")
    )
    numbers: Numbers = {
        "pxap": pixel_average_precision(pixel_counts(heatmaps, regions, void)).tolist(),
        "pointing": pointing_game(heatmaps, regions).double().tolist(),
        "energy": energy_inside(heatmaps, regions).tolist(),
    }
    thresholds = job.settings.thresholds
    at = thresholds.index(job.settings.threshold)
    overlaps = mask_scores(heatmaps, regions, thresholds, void)
    only_masks = _where([truth.has_mask for truth in truths])
    for name in OVERLAP_SCORES:
        numbers[f"mask_{name}"] = only_masks(overlaps[name][:, at].tolist())
    numbers["mask_iou_curve"] = only_masks(overlaps["iou"].tolist())
    return numbers


def _where(present: Sequence[bool]) -> Callable[[list[float]], list[float | None]]:
    return lambda values: [value if here else None for value, here in zip(values, present, strict=True)]

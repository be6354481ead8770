"""Rows of the localization task: does a method find the object?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import Job, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.metrics.energy import energy_inside
from vitcam.evaluation.metrics.localization import localization_sweep
from vitcam.evaluation.metrics.mask_overlap import mask_scores
from vitcam.evaluation.metrics.max_box_accuracy import best_box_iou, largest_box_iou
from vitcam.evaluation.metrics.overlap import OVERLAP_SCORES
from vitcam.evaluation.metrics.pixel_precision import pixel_average_precision, pixel_counts
from vitcam.evaluation.metrics.pointing import pointing_game
from vitcam.evaluation.rows import Row, Shape
from vitcam.evaluation.settings import Settings
from vitcam.explaining import compare

Numbers = dict[str, list[float] | list[list[float] | None] | list[float | None]]

_NUMBER: Shape = "number"
_CURVE: Shape = "curve"


_BOX_CURVES = ("largest_box_iou_curve", "best_box_iou_curve")
_PIXEL_CURVES = ("pixel_hits_curve", "pixel_predicted_curve")
_EVERY = 10
"""Of the thresholds of pixel AP, which one in how many is kept in a row, for PxAP: 101 of 1001."""


def localization_columns(settings: Settings, masks: bool) -> Mapping[str, Shape]:
    """The numbers of a row: those of the tests that the settings ask for.

    Args:
        settings: of the run.
        masks: whether the dataset has masks to compare with.
    """
    sweep = ("max_iou",) if settings.protocol == "vitcam" else ()
    columns: dict[str, dict[str, Shape]] = {
        "iou": {**dict.fromkeys((*OVERLAP_SCORES, *sweep), _NUMBER), "iou_curve": _CURVE},
        "max-box-accuracy": dict.fromkeys(_BOX_CURVES, _CURVE),
        "pixel-ap": {"pixel_ap": _NUMBER, **dict.fromkeys(_PIXEL_CURVES, _CURVE)},
        "pointing": {"pointing": _NUMBER},
        "energy": {"energy": _NUMBER},
        "mask": {
            **dict.fromkeys((f"mask_{name}" for name in OVERLAP_SCORES), _NUMBER),
            "mask_iou_curve": _CURVE,
        }
        if masks
        else {},
    }
    return {
        name: shape for test in settings.tests_of("localization") for name, shape in columns[test].items()
    }


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
        heatmaps = maps_of(explanation)[scored, 0].cpu()
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
    numbers: Numbers = {}
    truths = [item.truths[target] for item, target in zip(items, targets, strict=True)]
    for test in job.settings.tests_of("localization"):
        numbers |= _TESTS[test](heatmaps, truths, job)
    return numbers


def _box_overlap(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    thresholds, size = job.settings.thresholds, job.model.preprocessing.size
    sweep = localization_sweep(heatmaps, [truth.boxes for truth in truths], size, thresholds)
    at = thresholds.index(job.settings.threshold)
    numbers: Numbers = {name: sweep[name][:, at].tolist() for name in OVERLAP_SCORES}
    return numbers | {"iou_curve": sweep["iou"].tolist(), "max_iou": sweep["iou"].amax(1).tolist()}


def _box_accuracy(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    thresholds, size = job.settings.thresholds, job.model.preprocessing.size
    boxes = [truth.boxes for truth in truths]
    of = zip(_BOX_CURVES, (largest_box_iou, best_box_iou), strict=True)
    return {name: iou(heatmaps, boxes, size, thresholds).tolist() for name, iou in of}


def _mask_overlap(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    if not job.masks:
        return {}
    thresholds = job.settings.thresholds
    at = thresholds.index(job.settings.threshold)
    overlaps = mask_scores(heatmaps, _stacked(truths, "region"), thresholds, _stacked(truths, "void"))
    only_masks = _where([truth.has_mask for truth in truths])
    numbers: Numbers = {f"mask_{name}": only_masks(overlaps[name][:, at].tolist()) for name in OVERLAP_SCORES}
    return numbers | {"mask_iou_curve": only_masks(overlaps["iou"].tolist())}


def _pixel_precision(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    counts = pixel_counts(heatmaps, _stacked(truths, "region"), _stacked(truths, "void"))
    kept = zip(_PIXEL_CURVES, (counts.hits, counts.predicted), strict=True)
    curves = {name: count[:, ::_EVERY].double().tolist() for name, count in kept}
    return {"pixel_ap": pixel_average_precision(counts).tolist(), **curves}


def _pointing(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    return {
        "pointing": pointing_game(heatmaps, _stacked(truths, "region"), ignore=_stacked(truths, "void"))
        .double()
        .tolist()
    }


def _energy(heatmaps: Tensor, truths: Sequence[Truth], job: Job) -> Numbers:
    return {"energy": energy_inside(heatmaps, _stacked(truths, "region"), _stacked(truths, "void")).tolist()}


_TESTS: Mapping[str, Callable[[Tensor, Sequence[Truth], Job], Numbers]] = {
    "iou": _box_overlap,
    "max-box-accuracy": _box_accuracy,
    "pixel-ap": _pixel_precision,
    "pointing": _pointing,
    "energy": _energy,
    "mask": _mask_overlap,
}


def _stacked(truths: Sequence[Truth], name: Literal["region", "void"]) -> Bool[Tensor, "batch height width"]:
    return torch.from_numpy(np.stack([getattr(truth, name) for truth in truths]))


def _where(present: Sequence[bool]) -> Callable[[list[float]], list[float | None]]:
    return lambda values: [value if here else None for value, here in zip(values, present, strict=True)]

"""The measures, each declared once: the command line, runs, reports and the documentation read it here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.measure import TASKS, Curve, Measure, Number, Protocol, Task
from vitcam.evaluation.measure_columns import (
    filling,
    filling_curves,
    iou_curve,
    overlap,
    overlap_columns,
    removal,
    removal_columns,
    removal_curves,
)
from vitcam.registry import Registry, is_reference

_OURS: tuple[Protocol, ...] = ("vitcam",)
_BOTH: tuple[Protocol, ...] = ("paper", "vitcam")

_METRICS = "vitcam.evaluation.metrics"
_TOGETHER = "vitcam.evaluation.together"


_LOCALIZATION = (
    Measure(
        "iou",
        "localization",
        f"{_METRICS}.localization:measured",
        (
            *overlap("", "", "the filled boxes around what is hotter than the threshold", "box"),
            Number(
                "max_iou",
                "Best IoU",
                "The IoU at each image's own best threshold.",
                short=None,
                protocols=_OURS,
            ),
        ),
        (iou_curve("iou_curve", "boxes"),),
        _BOTH,
        stored=overlap_columns("", "max_iou", "iou_curve"),
    ),
    Measure(
        "max-box-accuracy",
        "localization",
        f"{_METRICS}.max_box_accuracy:measured",
        (
            Number(
                "max_box_accuracy",
                "MaxBoxAcc",
                "How often the largest box has an IoU of at least 0.5, at the method's best threshold.",
                source="arXiv 2001.07437",
                note="Intervals and tests hold for that threshold as given.",
                together=f"{_TOGETHER}:MAX_BOX_ACCURACY",
            ),
            Number(
                "max_box_accuracy_v2",
                "MaxBoxAccV2",
                "How often some box has an IoU of at least 0.3, 0.5, 0.7, each at the method's best threshold, on "
                "average.",
                short=None,
                source="arXiv 2007.04178",
                note="Intervals and tests hold for these thresholds as given.",
                together=f"{_TOGETHER}:MAX_BOX_ACCURACY_V2",
            ),
        ),
        (Curve("largest_box_iou_curve"), Curve("best_box_iou_curve")),
        _OURS,
    ),
    Measure(
        "pixel-ap",
        "localization",
        f"{_METRICS}.pixel_precision:measured",
        (
            Number(
                "pxap",
                "PxAP",
                "Average precision of all photographs' pixels together, ordered by heat.",
                source="arXiv 2001.07437",
                note="Intervals and tests hold for the precision at each threshold as given.",
                together=f"{_TOGETHER}:PXAP",
            ),
            Number("pixel_ap", "Pixel AP", "Average precision of each photograph's pixels, ordered by heat."),
        ),
        (Curve("pixel_hits_curve"), Curve("pixel_predicted_curve")),
        _OURS,
    ),
    Measure(
        "pointing",
        "localization",
        f"{_METRICS}.pointing:measured",
        (
            Number(
                "pointing",
                "Pointing game",
                "How often the hottest pixel lies on the object.",
                short="Pointing",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "energy",
        "localization",
        f"{_METRICS}.energy:measured",
        (
            Number(
                "energy",
                "Energy inside",
                "How much of all heat lies on the object.",
                short="Energy",
                source="arXiv 1910.01279",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "mask",
        "localization",
        f"{_METRICS}.mask_overlap:measured",
        overlap("mask_", "Mask ", "what is hotter than the threshold", "mask"),
        (iou_curve("mask_iou_curve", "masks"),),
        _OURS,
        absent="none of these photographs has a mask",
        needs_masks=True,
        stored=overlap_columns("mask_", "iou_curve"),
    ),
)
_PERTURBATION = (
    Measure(
        "abpc",
        "perturbation",
        f"{_METRICS}.perturbation:measured",
        removal("", "", "removed pixels become grey"),
        removal_curves("", "MoRF and LeRF", "pixels"),
        _BOTH,
        stored=removal_columns(""),
    ),
    Measure(
        "insertion-deletion",
        "perturbation",
        f"{_METRICS}.insertion_deletion:measured",
        (*filling("blur", "a blurred photograph"), *filling("mean", "the photograph's mean colour")),
        (*filling_curves("blur", "blurred"), *filling_curves("mean", "mean colour")),
        _OURS,
        stored=tuple(
            f"{area}{curve}_{fill}"
            for area in ("", "auc_")
            for fill in ("blur", "mean")
            for curve in ("insertion", "deletion")
        ),
    ),
    Measure(
        "road",
        "perturbation",
        f"{_METRICS}.road:measured",
        removal(
            "road_",
            "ROAD ",
            "removed pixels are interpolated from their neighbours",
            "arXiv 2202.00449",
            "ROAD",
        ),
        removal_curves("road_", "ROAD", "pixels"),
        _OURS,
        stored=removal_columns("road_"),
    ),
    Measure(
        "token-dropping",
        "perturbation",
        f"{_METRICS}.token_dropping:measured",
        removal(
            "token_", "Token ", "removed patches are taken out of the sequence", "arXiv 2204.08945", "Tokens"
        ),
        removal_curves("token_", "Token dropping", "patches"),
        _OURS,
        absent="the model has no class token, or its attention needs the whole grid of patches",
        stored=removal_columns("token_"),
    ),
    Measure(
        "saco",
        "perturbation",
        f"{_METRICS}.saco:measured",
        (
            Number(
                "saco",
                "SaCo",
                "Whether hotter parts matter more to the prediction, −1 to 1.",
                unit="−1 to 1",
                source="arXiv 2404.01415",
            ),
        ),
        protocols=_OURS,
    ),
)


def _as_measure(name: str, measure: Any) -> Measure:
    if not isinstance(measure, Measure) or measure.task not in TASKS:
        what = (
            f"of the task {measure.task!r}" if isinstance(measure, Measure) else f"a {type(measure).__name__}"
        )
        tasks = " or ".join(TASKS)
        raise RunError(
            f"the measure {name} is {what}: expected a vitcam.evaluation.measure.Measure of the task {tasks}"
        )
    numbers = set(measure.numbers)
    for other in MEASURES.values():
        shared = {*measure.columns} & {*other.columns} if other.name != name else set()
        if shared and not numbers <= set(other.numbers):
            raise RunError(
                f"the measure {name} has a column {min(shared)!r}, as {other.name} has: name it otherwise"
            )
    if measure.name == name:
        return measure
    return replace(measure, name=name, protocols=() if is_reference(name) else measure.protocols)


MEASURES: Registry[Measure] = Registry(
    "measure",
    "vitcam.measures",
    {measure.name: measure for measure in (*_LOCALIZATION, *_PERTURBATION)},
    _as_measure,
    RunError,
)
"""By name: vitcam's, those of installed packages (entry points ``vitcam.measures``), and what is added.

Of each task, what stands first matters most.
"""


def measures_of(task: Task) -> list[Measure]:
    """The measures of a task."""
    return [measure for measure in MEASURES.values() if measure.task == task]

"""What the columns of a run's rows are called, and whether more is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vitcam.evaluation.rows import Task
from vitcam.report.errors import ReportError

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measure:
    """A number of each row.

    Attributes:
        key: its column.
        title: for tables.
        meaning: one sentence.
        better: which direction is; None if that isn't known.
    """

    key: str
    title: str
    meaning: str
    better: Direction | None = "higher"

    @property
    def sign(self) -> int:
        """What to multiply by, so that more is better; 0 if that isn't known."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]


def _overlap(prefix: str, title: str, region: str, truth: str) -> list[Measure]:
    def titled(name: str) -> str:
        return f"{title} {name}" if title else name[0].upper() + name[1:]

    return [
        Measure(
            f"{prefix}iou", titled("IoU"), f"Shared part of {region} and the true {truth}: |P∩T| / |P∪T|."
        ),
        Measure(f"{prefix}dice", titled("Dice"), f"2|P∩T| / (|P| + |T|), with P {region}."),
        Measure(f"{prefix}precision", titled("precision"), f"How much of P lies inside the true {truth}."),
        Measure(f"{prefix}recall", titled("recall"), f"How much of the true {truth} P covers."),
        Measure(
            f"{prefix}pixel_accuracy", titled("pixel accuracy"), "Pixels that are rightly inside or outside."
        ),
    ]


def _removal(prefix: str, title: str, how: str) -> list[Measure]:
    return [
        Measure(f"{prefix}abpc", f"{title}ABPC", f"Area between the two curves, LeRF − MoRF; {how}."),
        Measure(
            f"{prefix}auc_lerf",
            f"{title}LeRF",
            f"Mean probability of the class while the least important pixels are removed first; {how}.",
        ),
        Measure(
            f"{prefix}auc_morf",
            f"{title}MoRF",
            f"Mean probability of the class while the most important pixels are removed first; {how}.",
            "lower",
        ),
    ]


def _filling(fill: str, how: str) -> list[Measure]:
    return [
        Measure(
            f"auc_insertion_{fill}",
            f"Insertion ({fill})",
            f"Area under the curve while pixels return to {how}.",
        ),
        Measure(
            f"auc_deletion_{fill}",
            f"Deletion ({fill})",
            f"Area under the curve while pixels give way to {how}.",
            "lower",
        ),
    ]


MEASURES: dict[Task, tuple[Measure, ...]] = {
    "localization": (
        *_overlap("", "", "the filled boxes around what is hotter than the threshold", "box"),
        Measure("max_iou", "Best IoU", "The IoU at each image's own best threshold."),
        Measure(
            "max_box_accuracy",
            "MaxBoxAcc",
            "How often the largest box has an IoU of at least 0.5, at the method's best threshold "
            "(arXiv 2001.07437). Intervals and tests hold for that threshold as given.",
        ),
        Measure(
            "max_box_accuracy_v2",
            "MaxBoxAccV2",
            "How often some box has an IoU of at least 0.3, 0.5, 0.7, each at the method's best threshold, on "
            "average (arXiv 2007.04178). Intervals and tests hold for these thresholds as given.",
        ),
        Measure(
            "pxap",
            "PxAP",
            "Average precision of all photographs' pixels together, ordered by heat (arXiv 2001.07437). Intervals "
            "and tests hold for the precision at each threshold as given.",
        ),
        Measure("pixel_ap", "Pixel AP", "Average precision of each photograph's pixels, ordered by heat."),
        Measure("pointing", "Pointing game", "How often the hottest pixel lies on the object."),
        Measure("energy", "Energy inside", "How much of all heat lies on the object (arXiv 1910.01279)."),
        *_overlap("mask_", "Mask", "what is hotter than the threshold", "mask"),
    ),
    "perturbation": (
        *_removal("", "", "removed pixels become grey"),
        *_filling("blur", "a blurred photograph"),
        *_filling("mean", "the photograph's mean colour"),
        *_removal(
            "road_", "ROAD ", "removed pixels are interpolated from their neighbours (arXiv 2202.00449)"
        ),
        *_removal("token_", "Token ", "removed patches are taken out of the sequence (arXiv 2204.08945)"),
        Measure(
            "saco",
            "SaCo",
            "Whether hotter parts matter more to the prediction, −1 to 1 (arXiv 2404.01415).",
        ),
    ),
}
"""By task, what stands first matters most."""

MAIN: dict[Task, str] = {"localization": "iou", "perturbation": "abpc"}
"""What images and classes are ordered by."""


def measures_of(task: Task, columns: Iterable[str]) -> list[Measure]:
    """The measures of a task's numbers, known ones first; a column that isn't known is its own title."""
    present = list(columns)
    known = [measure for measure in MEASURES[task] if measure.key in present]
    keys = {measure.key for measure in known}
    return known + [Measure(key, key, "As the run stored it.", None) for key in present if key not in keys]


def check_known(asked: Sequence[str], present: Sequence[str]) -> None:
    """Refuses measures that a report doesn't have.

    Raises:
        ReportError: naming those that there are.
    """
    unknown = [key for key in asked if key not in present]
    if unknown:
        raise ReportError(
            f"no run has the metric {', '.join(map(repr, unknown))}. There are: {', '.join(present)}"
        )

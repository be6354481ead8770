"""What the declarations of measures say about the columns of rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vitcam.evaluation.measure import Number, Task, resolved
from vitcam.evaluation.measures import MEASURES, measures_of

if TYPE_CHECKING:
    from vitcam.evaluation.together import Together


def main_number(task: Task) -> str:
    """What images and classes are ordered by."""
    return measures_of(task)[0].numbers[0].key


def numbers_of(task: Task, columns: Iterable[str]) -> list[Number]:
    """A task's numbers, in the order of their declarations; then those that aren't known, titled by their keys."""
    present = list(columns)
    known = {
        number.key: number for each in measures_of(task) for number in each.numbers if number.key in present
    }
    unknown = [Number(key, key, "As the run stored it.", None) for key in present if key not in known]
    return [*known.values(), *unknown]


def numbers_together() -> dict[str, Together]:
    """The numbers of all rows together, by the names that they have in summaries and reports."""
    return {
        number.key: resolved(number.together)
        for measure in MEASURES.values()
        for number in measure.numbers
        if number.together is not None
    }


def drawn_curves(task: Task) -> frozenset[str]:
    """The columns that are drawn."""
    return frozenset(curve.key for each in measures_of(task) for curve in each.curves if curve.plot)

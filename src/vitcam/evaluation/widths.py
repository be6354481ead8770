"""How wide the intervals of a run's means are so far."""

from __future__ import annotations

from dataclasses import dataclass

from vitcam.evaluation.measure import Task
from vitcam.evaluation.settings import RunSettings
from vitcam.evaluation.statistics import intervals_of
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.sums import sum_up


@dataclass(frozen=True)
class Width:
    """That of a mean's interval, from end to end.

    Attributes:
        width: in the number's own unit.
        title: the number's.
        method: whose mean it is.
    """

    width: float
    title: str
    method: str

    def __str__(self) -> str:
        return f"{self.width:.3g} ({self.title}, {self.method})"


def widest_interval(rows: StoredRows, task: Task, settings: RunSettings, least: int) -> Width | None:
    """The widest bootstrap 95 % interval of the means in the table that a run ends with.

    Those are the intervals that ``summary.json`` holds. Numbers that are all the same have an interval without width,
    which says nothing of images still to come; theirs counts as 3/n, by the rule of three (Hanley and Lippman-Hand
    1983). Numbers of all images together have no interval, and are left out, as are those that no image has.

    Args:
        rows: of the run so far.
        task: whose.
        settings: say which methods, measures and seed.
        least: of images that a mean must be of; with fewer there is no answer.

    Raises:
        RunError: a file of rows is damaged.
    """
    sums = sum_up(rows, task, settings.methods, curves=())
    titles = {
        number.key: number.short or number.title
        for measure in settings.measures_of(task)
        for number in measure.in_brief
        if number.key in sums.numbers
    }
    columns = {
        (key, method): column
        for key in titles
        for i, method in enumerate(settings.methods)
        if (column := sums.column(key, i)).counts.any()
    }
    if not columns or min(column.images for column in columns.values()) < least:
        return None
    widths = []
    for (key, method), interval in intervals_of(columns, seed=settings.seed).items():
        width = float(interval.high - interval.low) or 3 / columns[key, method].images
        widths.append(Width(width, titles[key], method))
    return max(widths, key=lambda each: each.width)

"""A table per measure: means with intervals, and paired differences to a reference method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vitcam.errors import ReportError
from vitcam.evaluation.columns import numbers_of
from vitcam.evaluation.measure import TASKS, Number, Task
from vitcam.evaluation.statistics import Column, Interval, Key, differences_of, intervals_of
from vitcam.evaluation.sums import Sums
from vitcam.report.run import Run
from vitcam.report.scores import Summed, read_sums

REFERENCE = "agcam"


@dataclass(frozen=True)
class Estimate:
    """A mean and its bootstrap 95 % interval over so many images, each with all its explanations."""

    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Paired:
    """A method minus the reference, on the same images.

    Attributes:
        estimate: of the mean difference.
        p: of the two-sided paired permutation test.
        p_holm: the same, corrected (Holm 1979) for the number of methods that the table compares.
    """

    estimate: Estimate
    p: float
    p_holm: float


@dataclass(frozen=True)
class ScoreRow:
    """One method of one run.

    Attributes:
        run: its name.
        method: its name.
        estimate: of the mean.
        leads: it is the best, or can't be told from it: the 95 % interval of their paired difference includes
            0. False for all if that is so of all.
        difference: to the reference; None for the reference itself, or without one.
    """

    run: str
    method: str
    estimate: Estimate
    leads: bool
    difference: Paired | None


@dataclass(frozen=True)
class ScoreTable:
    """One measure: the methods of every run."""

    task: Task
    measure: Number
    reference: str
    rows: tuple[ScoreRow, ...]


def score_tables(
    runs: Sequence[Run], *, reference: str | None = None, metrics: Sequence[str] = ()
) -> list[ScoreTable]:
    """The tables of a report, the most important measure of each task first.

    Args:
        runs: side by side in every table; comparisons are within a run.
        reference: the method that others are compared with; None for ``agcam`` where a run has it.
        metrics: columns of the rows, or ``max_box_accuracy``, ``max_box_accuracy_v2`` and ``pxap``; empty for all.

    Raises:
        ReportError: no run has such a metric or method, or no image was scored.

    Example:
        >>> from vitcam.report import read_runs
        >>> (table,) = score_tables(read_runs(["run"]), metrics=["iou"])
        >>> [row.method for row in table.rows], 0 < table.rows[0].estimate.mean < 1
        (['agcam', 'rollout', 'random', 'center'], True)
    """
    if reference is not None and not any(reference in run.methods for run in runs):
        present = dict.fromkeys(name for run in runs for name in run.methods)
        raise ReportError(
            f"no run has the method {reference!r} to compare with. There are: {', '.join(present)}"
        )
    compared = reference or REFERENCE
    scores = {(task, run.name): read_sums(run, task) for task in TASKS for run in runs if task in run.tasks}
    keys: dict[Task, list[str]] = {task: [] for task in TASKS}
    for (task, _), summed in scores.items():
        keys[task] += [key for key in summed.keys if key not in keys[task]]
    measures = [(task, measure) for task in TASKS for measure in numbers_of(task, keys[task])]
    if not measures:
        raise ReportError(
            "no image was scored, so there is nothing to compare: all those that are done were predicted wrong, "
            "couldn't be read, or have no numbers in the tests that were run"
        )
    _check_known(metrics, list(dict.fromkeys(measure.key for _, measure in measures)))
    wanted = {measure.key: measure for _, measure in measures if not metrics or measure.key in metrics}
    rows = {place: _rows_by_measure(place[1], summed, wanted, compared) for place, summed in scores.items()}
    return [
        ScoreTable(
            task,
            measure,
            compared,
            tuple(row for run in runs for row in rows.get((task, run.name), {}).get(measure.key, ())),
        )
        for task, measure in measures
        if measure.key in wanted
    ]


def _check_known(asked: Sequence[str], present: Sequence[str]) -> None:
    unknown = [key for key in asked if key not in present]
    if unknown:
        raise ReportError(
            f"no run has the metric {', '.join(map(repr, unknown))}. There are: {', '.join(present)}"
        )


def _rows_by_measure(
    run: str, summed: Summed, wanted: Mapping[str, Number], reference: str
) -> dict[str, list[ScoreRow]]:
    rows: dict[str, list[ScoreRow]] = {}
    sums = summed.sums
    keys = [key for key in summed.keys if key in wanted]
    # a few measures at a time: their draws are shared, and the memory is bounded
    at_once = max(1, _NUMBERS // (sums.units * max(1, len(sums.methods))))
    for start in range(0, len(keys), at_once):
        shared = keys[start : start + at_once]
        means = estimates(
            {(key, name): sums.column(key, i) for key in shared for i, name in enumerate(sums.methods)}
        )
        differences = _differences(sums, shared, reference)
        leading = _leading(sums, means, wanted)
        for (key, method), estimate in means.items():
            place = (key, method)
            row = ScoreRow(run, method, estimate, place in leading, differences.get(place))
            rows.setdefault(key, []).append(row)
    return rows


_NUMBERS = 2**24
"""That are drawn from at once, at most."""


def estimates(columns: Mapping[Key, Column]) -> dict[Key, Estimate]:
    """The mean of every column, and its interval; none for a column without a number."""
    return {key: _estimate(interval, columns[key]) for key, interval in intervals_of(columns).items()}


def _differences(sums: Sums, keys: Sequence[str], reference: str) -> dict[tuple[str, str], Paired]:
    """Each method minus the reference, by (measure, method)."""
    if reference not in sums.methods:
        return {}
    to = sums.methods.index(reference)
    others = [(i, name) for i, name in enumerate(sums.methods) if i != to]
    columns = {(key, name): sums.difference(key, i, to) for key in keys for i, name in others}
    differences = differences_of(columns)
    paired: dict[tuple[str, str], Paired] = {}
    for key in keys:
        of_measure = {place: each for place, each in differences.items() if place[0] == key}
        p_values = [float(each.p_value) for each in of_measure.values()]
        for (place, each), p, p_holm in zip(of_measure.items(), p_values, holm(p_values), strict=True):
            paired[place] = Paired(_estimate(each.interval, columns[place]), p, p_holm)
    return paired


def _leading(
    sums: Sums, means: Mapping[tuple[str, str], Estimate], measures: Mapping[str, Number]
) -> set[tuple[str, str]]:
    behind: dict[tuple[str, str], Column] = {}
    best: dict[str, str] = {}
    for key in dict.fromkeys(key for key, _ in means):
        rivals = [method for of_key, method in means if of_key == key]
        sign = measures[key].sign
        if sign and len(rivals) > 1:
            best[key] = max(rivals, key=lambda method: sign * means[key, method].mean)
            first = sums.methods.index(best[key])
            for method in rivals:
                if method != best[key]:
                    ahead = sums.difference(key, first, sums.methods.index(method))
                    behind[key, method] = replace(ahead, sums=sign * ahead.sums)
    close = {place for place, estimate in estimates(behind).items() if estimate.low <= 0}
    leading = close | set(best.items())
    all_alike = {key for key in best if all(place in leading for place in means if place[0] == key)}
    return {place for place in leading if place[0] not in all_alike}


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are. Source: Holm 1979.

    Example:
        >>> holm([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def _estimate(interval: Interval, column: Column) -> Estimate:
    return Estimate(float(interval.mean), float(interval.low), float(interval.high), column.images)

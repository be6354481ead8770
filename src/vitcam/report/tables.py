"""A table per measure: means with intervals, and paired differences to a reference method."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from vitcam.evaluation.rows import TASKS, Task
from vitcam.evaluation.statistics import Interval, bootstrap_interval, paired_difference
from vitcam.report.errors import ReportError
from vitcam.report.measures import Measure, check_known, measures_of
from vitcam.report.run import Run
from vitcam.report.scores import Scores, read_scores

REFERENCE = "agcam"

Key = TypeVar("Key", bound=Hashable)
Columns = Mapping[Key, Float[np.ndarray, " units"]]
Images = Int[np.ndarray, " units"]


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
    measure: Measure
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
    scores = {(task, run.name): read_scores(run, task) for task in TASKS for run in runs if task in run.tasks}
    keys = {
        task: list(
            dict.fromkeys(key for (of, _), some in scores.items() if of == task for key in some.numbers)
        )
        for task in TASKS
    }
    measures = [(task, measure) for task in TASKS for measure in measures_of(task, keys[task])]
    if not measures:
        raise ReportError(
            "no image was scored, so there is nothing to compare: all those that are done were predicted wrong, "
            "couldn't be read, or have no numbers in the tests that were run"
        )
    check_known(metrics, list(dict.fromkeys(measure.key for _, measure in measures)))
    wanted = {measure.key: measure for _, measure in measures if not metrics or measure.key in metrics}
    rows = {place: _rows_by_measure(place[1], some, wanted, compared) for place, some in scores.items()}
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


def _rows_by_measure(
    run: str, scores: Scores, wanted: Mapping[str, Measure], reference: str
) -> dict[str, list[ScoreRow]]:
    columns = {
        (key, method): table[:, i]
        for key, table in scores.numbers.items()
        if key in wanted
        for i, method in enumerate(scores.methods)
    }
    means = estimates(columns, scores.images)
    differences = _differences(columns, scores.images, reference)
    leading = _leading(columns, scores.images, means, wanted)
    rows: dict[str, list[ScoreRow]] = {}
    for (key, method), estimate in means.items():
        place = (key, method)
        row = ScoreRow(run, method, estimate, place in leading, differences.get(place))
        rows.setdefault(key, []).append(row)
    return rows


def estimates(columns: Columns[Key], images: Images) -> dict[Key, Estimate]:
    """The mean of every column, leaving out NaNs, and its interval; none for a column without a number."""

    def of_group(table: Table, of: Images) -> list[Estimate]:
        return _as_estimates(bootstrap_interval(table, of), of)

    return _by_presence(columns, images, of_group)


def _differences(
    columns: Columns[tuple[str, str]], images: Images, reference: str
) -> dict[tuple[str, str], Paired]:
    """Each method minus the reference, by (measure, method)."""
    raw = {
        (key, method): values - columns[key, reference]
        for (key, method), values in columns.items()
        if method != reference and (key, reference) in columns
    }

    def of_group(table: Table, of: Images) -> list[tuple[Estimate, float]]:
        difference = paired_difference(table, np.zeros_like(table), of)
        return list(zip(_as_estimates(difference.interval, of), map(float, difference.p_value), strict=True))

    found = _by_presence(raw, images, of_group)
    paired: dict[tuple[str, str], Paired] = {}
    for key in dict.fromkeys(key for key, _ in found):
        own = {place: result for place, result in found.items() if place[0] == key}
        corrected = holm([p for _, p in own.values()])
        for (place, (estimate, p)), p_holm in zip(own.items(), corrected, strict=True):
            paired[place] = Paired(estimate, p, p_holm)
    return paired


def _leading(
    columns: Columns[tuple[str, str]],
    images: Images,
    means: Mapping[tuple[str, str], Estimate],
    measures: Mapping[str, Measure],
) -> set[tuple[str, str]]:
    behind: dict[tuple[str, str], Float[np.ndarray, " units"]] = {}
    best: dict[str, str] = {}
    for key in dict.fromkeys(key for key, _ in means):
        rivals = [method for of, method in means if of == key]
        sign = measures[key].sign
        if sign and len(rivals) > 1:
            best[key] = max(rivals, key=lambda method: sign * means[key, method].mean)
            behind |= {
                (key, method): sign * (columns[key, best[key]] - columns[key, method])
                for method in rivals
                if method != best[key]
            }
    close = {place for place, estimate in estimates(behind, images).items() if estimate.low <= 0}
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


Result = TypeVar("Result")
Table = Float[np.ndarray, "units columns"]


def _by_presence(
    columns: Columns[Key], images: Images, statistic: Callable[[Table, Images], list[Result]]
) -> dict[Key, Result]:
    """Takes columns that have numbers for the same images together: they share the bootstrap's draws."""
    groups: dict[bytes, list[Key]] = {}
    for key, values in columns.items():
        present = np.isfinite(values)
        if present.any():
            groups.setdefault(present.tobytes(), []).append(key)
    results: dict[Key, Result] = {}
    for keys in groups.values():
        table = np.stack([columns[key] for key in keys], axis=1)
        present = np.isfinite(table[:, 0])
        results |= zip(keys, statistic(table[present], images[present]), strict=True)
    return {key: results[key] for key in columns if key in results}


def _as_estimates(interval: Interval, images: Images) -> list[Estimate]:
    ends = zip(interval.mean, interval.low, interval.high, strict=True)
    count = len(np.unique(images))
    return [Estimate(float(mean), float(low), float(high), count) for mean, low, high in ends]

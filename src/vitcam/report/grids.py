"""Tables of texts: all means at a glance, then a measure each with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from vitcam.evaluation.measure import TASKS, Number, Task
from vitcam.report.figures import interval, p_value, plain, signed, signed_interval, titled
from vitcam.report.tables import ScoreRow, ScoreTable

AT_A_GLANCE = 6
"""Measures that stand side by side, at most."""


@dataclass(frozen=True)
class Cell:
    """A text of a table, and whether it is the best, or can't be told from it."""

    text: str
    leads: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        task: what was evaluated.
        key: a name for it.
        title: above it.
        meaning: below it, in a sentence.
        titles: of the columns.
        names: so many columns at the left are names, all others numbers.
        rows: of cells.
    """

    task: Task
    key: str
    title: str
    meaning: str
    titles: tuple[str, ...]
    names: int
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Overview:
    """All means of a task: methods by measures.

    Attributes:
        task: what was evaluated.
        measures: the columns.
        who: the rows: run and method.
        rows: by measure, run and method; where a run has no such number there is none.
    """

    task: Task
    measures: tuple[Number, ...]
    who: tuple[tuple[str, str], ...]
    rows: Mapping[tuple[str, str, str], ScoreRow]


def overview(task: Task, tables: Iterable[ScoreTable]) -> Overview:
    """What the tables of a task say, on one table."""
    own = [table for table in tables if table.task == task]
    return Overview(
        task,
        tuple(table.measure for table in own),
        tuple(dict.fromkeys((row.run, row.method) for table in own for row in table.rows)),
        {(table.measure.key, row.run, row.method): row for table in own for row in table.rows},
    )


def as_grids(tables: Sequence[ScoreTable], several_runs: bool) -> list[Grid]:
    """The tables of a report as texts, task by task.

    Args:
        tables: as from ``score_tables``.
        several_runs: whether the first column is the run's name.

    Returns:
        For each task all its means, unless there is one measure only; then a table for each measure.
    """
    grids = []
    for task in TASKS:
        own = [table for table in tables if table.task == task]
        if len(own) > 1:
            grids += _at_a_glance(overview(task, own), several_runs)
        grids += [_of_measure(table, several_runs) for table in own]
    return grids


def _at_a_glance(means: Overview, several_runs: bool) -> list[Grid]:
    count = len(means.measures)
    size = ceil(count / ceil(count / AT_A_GLANCE))
    parts = [means.measures[first : first + size] for first in range(0, count, size)]
    names = ("Run", "Method") if several_runs else ("Method",)
    return [
        Grid(
            means.task,
            "means" if number == 1 else f"means-{number}",
            "Means" if len(parts) == 1 else f"Means ({number} of {len(parts)})",
            "Mean over explanations of each measure; a photograph with several classes has several. ↑: higher is "
            "better, ↓: lower is.",
            (*names, *map(titled, part)),
            len(names),
            tuple(
                (
                    *_names(*who, several_runs),
                    *(_mean(means.rows.get((measure.key, *who))) for measure in part),
                )
                for who in means.who
                if any((measure.key, *who) in means.rows for measure in part)
            ),
        )
        for number, part in enumerate(parts, start=1)
    ]


def _of_measure(table: ScoreTable, several_runs: bool) -> Grid:
    names = ("Run", "Method") if several_runs else ("Method",)
    compared = any(row.difference for row in table.rows)
    more = (f"− {table.reference}", "95 % interval", "p") if compared else ()
    return Grid(
        table.task,
        table.measure.key,
        table.measure.title,
        table.measure.meaning,
        (*names, titled(table.measure), "95 % interval", *more),
        len(names),
        tuple(
            (
                *_names(row.run, row.method, several_runs),
                _mean(row),
                Cell(interval(row.estimate)),
                *(_difference(row) if compared else ()),
            )
            for row in table.rows
        ),
    )


def _names(run: str, method: str, several_runs: bool) -> tuple[Cell, ...]:
    return (Cell(run), Cell(method)) if several_runs else (Cell(method),)


def _mean(row: ScoreRow | None) -> Cell:
    return Cell("–") if row is None else Cell(plain(row.estimate.mean), row.leads)


def _difference(row: ScoreRow) -> tuple[Cell, ...]:
    if row.difference is None:
        return (Cell(""),) * 3
    estimate = row.difference.estimate
    texts = (signed(estimate.mean), signed_interval(estimate), p_value(row.difference.p_holm))
    return tuple(map(Cell, texts))

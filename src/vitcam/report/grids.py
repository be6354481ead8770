"""The tables of a report, formatted once for all that show them: LaTeX, Markdown, the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from vitcam.evaluation.measure import TASKS, Task
from vitcam.report.figures import interval, p_value, plain, signed, signed_interval, titled
from vitcam.report.tables import Estimate, ScoreRow, ScoreTable

AT_A_GLANCE = 6
"""Measures that stand side by side in text, at most."""

Kind = Literal["name", "mean", "interval", "p"]


@dataclass(frozen=True)
class Whisker:
    """An interval with its mean, as percentages of the range that the table's intervals span."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class TableCell:
    """A text of a table.

    Attributes:
        text: what it says.
        kind: what that is.
        leads: whether it is the best, or can't be told from it.
        whisker: an interval, to be drawn behind it where there is room.
    """

    text: str
    kind: Kind
    leads: bool = False
    whisker: Whisker | None = None


ABSENT = TableCell("–", "mean")


@dataclass(frozen=True)
class Heading:
    """The title of a column.

    Attributes:
        text: what it says in text.
        on_page: what it says on the page, where a title stands above the table; "" for the same.
        measure: the key of the measure that the column is of, where a table has several.
        hint: what that measure is.
        ends: of the range that is drawn behind the column.
    """

    text: str
    on_page: str = ""
    measure: str = ""
    hint: str = ""
    ends: tuple[str, str] | None = None


@dataclass(frozen=True)
class TableRow:
    """The numbers of a method of a run.

    Attributes:
        cells: as many as there are headings.
        is_reference: whether others are compared with it.
        begins_run: whether the row above is another run's.
    """

    cells: tuple[TableCell, ...]
    is_reference: bool = False
    begins_run: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        task: what was evaluated.
        key: a name for it.
        title: above it.
        meaning: what it says, in a sentence or two.
        headings: of the columns.
        names: so many columns at the left are names, all others numbers.
        rows: from the top.
    """

    task: Task
    key: str
    title: str
    meaning: str
    headings: tuple[Heading, ...]
    names: int
    rows: tuple[TableRow, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """What the headings say in text."""
        return tuple(heading.text for heading in self.headings)


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
        of_task = [table for table in tables if table.task == task]
        if len(of_task) > 1:
            grids += _narrow(all_means(of_task, several_runs))
        grids += [measure_grid(table, several_runs) for table in of_task]
    return grids


def all_means(tables: Sequence[ScoreTable], several_runs: bool) -> Grid:
    """All means of a task: methods by measures, however many. Where a run has no such number, a dash."""
    rows = {(table.measure.key, row.run, row.method): row for table in tables for row in table.rows}
    methods = list(dict.fromkeys((row.run, row.method) for table in tables for row in table.rows))
    names = _name_headings(several_runs)
    return Grid(
        tables[0].task,
        "means",
        "Means",
        "Mean over explanations of each measure; a photograph with several classes has several. ↑: higher is "
        "better, ↓: lower is.",
        (
            *names,
            *(
                Heading(titled(table.measure), measure=table.measure.key, hint=table.measure.meaning)
                for table in tables
            ),
        ),
        len(names),
        tuple(
            TableRow(
                (
                    *_names(run, method, several_runs),
                    *(_mean(rows.get((table.measure.key, run, method))) for table in tables),
                ),
                begins_run=_begins_run(methods, place),
            )
            for place, (run, method) in enumerate(methods)
        ),
    )


def measure_grid(table: ScoreTable, several_runs: bool) -> Grid:
    """One measure: mean, interval, and where there is a reference the paired difference and its p."""
    compared = any(row.difference for row in table.rows)
    ends = [end for row in table.rows for end in (row.estimate.low, row.estimate.high)]
    drawn = (min(ends), max(ends))
    names = _name_headings(several_runs)
    headings = [
        *names,
        Heading(titled(table.measure), "Mean"),
        Heading("95 % interval", ends=(plain(drawn[0]), plain(drawn[1]))),
    ]
    if compared:
        reference = table.reference
        headings += [Heading(f"− {reference}", f"Minus {reference}"), Heading("95 % interval"), Heading("p")]
    methods = [(row.run, row.method) for row in table.rows]
    return Grid(
        table.task,
        table.measure.key,
        table.measure.title,
        table.measure.meaning,
        tuple(headings),
        len(names),
        tuple(
            TableRow(
                (
                    *_names(row.run, row.method, several_runs),
                    _mean(row),
                    TableCell(interval(row.estimate), "interval", whisker=_whisker(row.estimate, drawn)),
                    *(_difference(row) if compared else ()),
                ),
                row.method == table.reference,
                _begins_run(methods, place),
            )
            for place, row in enumerate(table.rows)
        ),
    )


def _narrow(grid: Grid) -> list[Grid]:
    """A table of all means as tables of ``AT_A_GLANCE`` measures at most, without rows of dashes alone."""
    count = len(grid.headings) - grid.names
    size = ceil(count / ceil(count / AT_A_GLANCE))
    starts = range(grid.names, len(grid.headings), size)
    if len(starts) == 1:
        return [grid]
    parts = []
    for number, start in enumerate(starts, start=1):
        columns = slice(start, start + size)
        rows = tuple(
            replace(row, cells=row.cells[: grid.names] + row.cells[columns])
            for row in grid.rows
            if any(cell is not ABSENT for cell in row.cells[columns])
        )
        headings = grid.headings[: grid.names] + grid.headings[columns]
        key = grid.key if number == 1 else f"{grid.key}-{number}"
        title = f"{grid.title} ({number} of {len(starts)})"
        parts.append(replace(grid, key=key, title=title, headings=headings, rows=rows))
    return parts


def _name_headings(several_runs: bool) -> tuple[Heading, ...]:
    return (Heading("Run"), Heading("Method")) if several_runs else (Heading("Method"),)


def _names(run: str, method: str, several_runs: bool) -> tuple[TableCell, ...]:
    named = TableCell(method, "name")
    return (TableCell(run, "name"), named) if several_runs else (named,)


def _mean(row: ScoreRow | None) -> TableCell:
    return ABSENT if row is None else TableCell(plain(row.estimate.mean), "mean", row.leads)


def _difference(row: ScoreRow) -> tuple[TableCell, ...]:
    if row.difference is None:
        return TableCell("", "mean"), TableCell("", "interval"), TableCell("", "p")
    estimate = row.difference.estimate
    return (
        TableCell(signed(estimate.mean), "mean"),
        TableCell(signed_interval(estimate), "interval"),
        TableCell(p_value(row.difference.p_holm), "p"),
    )


def _whisker(estimate: Estimate, drawn: tuple[float, float]) -> Whisker:
    length = drawn[1] - drawn[0]
    ends = (estimate.low, estimate.mean, estimate.high)
    return Whisker(*(100 * (end - drawn[0]) / length if length else 50.0 for end in ends))


def _begins_run(methods: Sequence[tuple[str, str]], place: int) -> bool:
    return place > 0 and methods[place][0] != methods[place - 1][0]

"""The tables of a report, formatted once for all that show them: LaTeX, Markdown, the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitcam.evaluation.measure import Number, Task
from vitcam.report.figures import interval, p_value, plain, signed, signed_interval, titled
from vitcam.report.tables import Estimate, ScoreRow, ScoreTable

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
        rank: of a mean of a measure of which one direction is better, what sorts it, the best first; None for others.
        half_width: of a mean, half the width of its interval.
    """

    text: str
    kind: Kind
    leads: bool = False
    whisker: Whisker | None = None
    rank: float | None = None
    half_width: float | None = None


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
        groups: titles above several headings, behind the names, each with how many it stands above; () for none.
    """

    task: Task
    key: str
    title: str
    meaning: str
    headings: tuple[Heading, ...]
    names: int
    rows: tuple[TableRow, ...]
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """What the headings say in text."""
        return tuple(heading.text for heading in self.headings)


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
                    *(
                        mean_cell(table.measure, rows.get((table.measure.key, run, method)))
                        for table in tables
                    ),
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
                    mean_cell(table.measure, row),
                    TableCell(interval(row.estimate), "interval", whisker=_whisker(row.estimate, drawn)),
                    *(_difference(row) if compared else ()),
                ),
                row.method == table.reference,
                _begins_run(methods, place),
            )
            for place, row in enumerate(table.rows)
        ),
    )


def _name_headings(several_runs: bool) -> tuple[Heading, ...]:
    return (Heading("Run"), Heading("Method")) if several_runs else (Heading("Method"),)


def _names(run: str, method: str, several_runs: bool) -> tuple[TableCell, ...]:
    named = TableCell(method, "name")
    return (TableCell(run, "name"), named) if several_runs else (named,)


def mean_cell(measure: Number, row: ScoreRow | None) -> TableCell:
    if row is None:
        return ABSENT
    estimate = row.estimate
    return TableCell(
        plain(estimate.mean),
        "mean",
        row.leads,
        rank=-measure.sign * estimate.mean if measure.sign else None,
        half_width=(estimate.high - estimate.low) / 2,
    )


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

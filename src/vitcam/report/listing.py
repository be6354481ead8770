"""Which tables a report has: all means, runs side by side, each measure; wide ones in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from vitcam.evaluation.measure import TASKS
from vitcam.report.figures import titled
from vitcam.report.grids import (
    ABSENT,
    Grid,
    Heading,
    TableCell,
    TableRow,
    all_means,
    mean_cell,
    measure_grid,
)
from vitcam.report.tables import ScoreTable

AT_A_GLANCE = 6
"""Measures that stand side by side in text, at most."""


def as_grids(tables: Sequence[ScoreTable], several_runs: bool) -> list[Grid]:
    """The tables of a report as texts, task by task.

    Args:
        tables: as from ``score_tables``.
        several_runs: whether the first column is the run's name.

    Returns:
        For each task all its means, unless there is one measure only; where several runs have it, the same with the
        runs side by side; then a table for each measure.
    """
    grids = []
    for task in TASKS:
        of_task = [table for table in tables if table.task == task]
        if len(of_task) > 1:
            grids += _narrow(all_means(of_task, several_runs))
        if several_runs and of_task:
            grids += side_by_side_in_parts(of_task)
        grids += [measure_grid(table, several_runs) for table in of_task]
    return grids


def overviews(tables: Sequence[ScoreTable], several_runs: bool) -> list[Grid]:
    """All means of each task: what a terminal shows first."""
    of_tasks = [[table for table in tables if table.task == task] for task in TASKS]
    return [grid for of_task in of_tasks if of_task for grid in _narrow(all_means(of_task, several_runs))]


def side_by_side(tables: Sequence[ScoreTable]) -> Grid | None:
    """The means of a task with the runs beside each other: methods by measures and runs; None of a single run.

    Args:
        tables: of the task.
    """
    runs = list(dict.fromkeys(row.run for table in tables for row in table.rows))
    if len(runs) < 2:
        return None
    methods = list(dict.fromkeys(row.method for table in tables for row in table.rows))
    rows = {(table.measure.key, row.run, row.method): row for table in tables for row in table.rows}
    columns = [(table.measure, run) for table in tables for run in runs]
    return Grid(
        tables[0].task,
        "runs",
        "Runs side by side",
        "Mean of each measure, run by run. ↑: higher is better, ↓: lower is. Methods are compared within a run; runs "
        "of other models or photographs differ by these, too.",
        (
            Heading("Method"),
            *(
                Heading(f"{titled(measure)}, {run}", on_page=run, measure=measure.key, hint=measure.meaning)
                for measure, run in columns
            ),
        ),
        1,
        tuple(
            TableRow(
                (
                    TableCell(method, "name"),
                    *(mean_cell(measure, rows.get((measure.key, run, method))) for measure, run in columns),
                )
            )
            for method in methods
        ),
        tuple((titled(table.measure), len(runs)) for table in tables),
    )


def side_by_side_in_parts(tables: Sequence[ScoreTable]) -> list[Grid]:
    """The same as tables of ``AT_A_GLANCE`` numbers at most, unless one measure has more runs."""
    whole = side_by_side(tables)
    if whole is None:
        return []
    at_once = max(1, AT_A_GLANCE // whole.groups[0][1])
    starts = range(0, len(tables), at_once)
    parts = [side_by_side(tables[start : start + at_once]) for start in starts]
    return [
        replace(
            part,
            key=part.key if number == 1 else f"{part.key}-{number}",
            title=f"{part.title} ({number} of {len(starts)})" if len(starts) > 1 else part.title,
        )
        for number, part in enumerate(filter(None, parts), start=1)
    ]


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

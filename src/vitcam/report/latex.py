"""Tables as papers print them: booktabs, the best bold, the second underlined, controls below a line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vitcam.evaluation.measure import is_control
from vitcam.report.figures import MINUS
from vitcam.report.grids import Grid, TableCell, TableRow


def latex_table(grid: Grid, intervals: bool = False) -> str:
    """A ``table`` for the package booktabs.

    Args:
        grid: what it says.
        intervals: behind every mean ±, half the width of its interval.
    """
    headings = grid.headings[grid.names :]
    titles = [_latex(heading.text) for heading in grid.headings[: grid.names]]
    titles += [_latex(heading.on_page if grid.groups else heading.text) for heading in headings]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(grid.task.capitalize())}: {_latex(grid.title)}. {_latex(grid.meaning)}}}",
        rf"  \label{{tab:{re.sub('[^a-z0-9]+', '-', f'{grid.task}-{grid.key}'.lower())}}}",
        rf"  \begin{{tabular}}{{{'l' * grid.names}{'r' * len(headings)}}}",
        r"    \toprule",
        *_groups(grid),
        rf"    {' & '.join(titles)} \\",
        r"    \midrule",
    ]
    marks = _marks(grid)
    for place, row in enumerate(_controls_last(grid)):
        if place and _begins(grid, place):
            lines.append(r"    \midrule")
        texts = [_cell(cell, marks.get(id(cell), ""), intervals) for cell in row.cells]
        lines.append(rf"    {' & '.join(texts)} \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def one_line(text: str) -> str:
    return " ".join(text.split())


def _groups(grid: Grid) -> list[str]:
    """The upper line of titles, and rules below it that say how far each reaches."""
    if not grid.groups:
        return []
    titles = [rf"\multicolumn{{{count}}}{{c}}{{{_latex(title)}}}" for title, count in grid.groups]
    rules, first = [], grid.names + 1
    for _, count in grid.groups:
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [rf"    {' & '.join([''] * grid.names)}& {' & '.join(titles)} \\", f"    {''.join(rules)}"]


def _run(grid: Grid, row: TableRow) -> str:
    return row.cells[0].text if grid.names > 1 else ""


def _is_control(grid: Grid, row: TableRow) -> bool:
    return is_control(row.cells[grid.names - 1].text)


def _controls_last(grid: Grid) -> list[TableRow]:
    """The rows, run by run, the controls of each behind its methods."""
    runs = list(dict.fromkeys(_run(grid, row) for row in grid.rows))
    return sorted(grid.rows, key=lambda row: (runs.index(_run(grid, row)), _is_control(grid, row)))


def _begins(grid: Grid, place: int) -> bool:
    before, row = _controls_last(grid)[place - 1 : place + 1]
    return _run(grid, before) != _run(grid, row) or _is_control(grid, before) != _is_control(grid, row)


def _marks(grid: Grid) -> Mapping[int, str]:
    """By cell: what is put around the best mean of a column, and the second best, of each run.

    Means that read the same are marked alike; where all do, none is.
    """
    marks: dict[int, str] = {}
    for column in range(grid.names, len(grid.headings)):
        for run in dict.fromkeys(_run(grid, row) for row in grid.rows):
            rivals = [
                row.cells[column]
                for row in grid.rows
                if _run(grid, row) == run
                and not _is_control(grid, row)
                and row.cells[column].rank is not None
            ]
            by_rank = sorted(rivals, key=lambda cell: cell.rank or 0)
            texts = list(dict.fromkeys(cell.text for cell in by_rank))
            if len(texts) < 2:
                continue
            for text, mark in zip(texts[:2], (r"\textbf", r"\underline"), strict=False):
                marks |= {id(cell): mark for cell in rivals if cell.text == text}
    return marks


def _cell(cell: TableCell, mark: str, intervals: bool) -> str:
    text = _latex(cell.text)
    text = f"{mark}{{{text}}}" if mark else text
    if intervals and cell.half_width is not None:
        text = rf"{text} {{\scriptsize $\pm$ {cell.half_width:.3f}}}"
    return text


_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "∩": r"$\cap$",
    "∪": r"$\cup$",
    "–": "--",
    MINUS: "$-$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in one_line(text))

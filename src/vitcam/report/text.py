"""Tables for papers, notes and spreadsheets: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from vitcam.printable import no_formula
from vitcam.report.latex import latex_table, one_line
from vitcam.report.listing import as_grids
from vitcam.report.run import Run
from vitcam.report.tables import ScoreTable
from vitcam.report.unmoved import unmoved

LEGEND = (
    "Means over explanations with bootstrap 95 % intervals; differences are paired, image by image; p of the "
    "permutation test, corrected for the number of methods (Holm). Bold: the best, and what can't be told from "
    "it."
)

LATEX_LEGEND = (
    LEGEND.partition(" Bold:")[0]
    + " Bold: the best of a run; underlined: the second best; without controls, "
    "which stand below a line."
)


def as_markdown(tables: Sequence[ScoreTable], runs: Sequence[Run]) -> str:
    """All means of each task, and a section per measure; the best in bold.

    Args:
        tables: as from ``score_tables``.
        runs: what they are of; what is missing of one is said first.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> print(as_markdown(score_tables(runs, metrics=["iou"]), runs))
        ## Localization
        ...
        | Method | IoU ↑ | 95 % interval | − agcam | 95 % interval | p |
        ...
    """
    lines = [f"> {_markdown(run)}: {_markdown(sentence)}\n" for run, sentence in unmoved(tables)]
    lines += [f"> {_markdown(run.name)}: {gap}\n" for run in runs for gap in run.gaps]
    task = None
    for grid in as_grids(tables, len(runs) > 1):
        if grid.task != task:
            task = grid.task
            lines.append(f"## {task.capitalize()}\n")
        lines.append(f"### {_markdown(grid.title)}\n\n{_markdown(grid.meaning)}\n")
        lines.append(_pipes(list(map(_markdown, grid.titles))))
        lines.append(_pipes(["---"] * grid.names + ["--:"] * (len(grid.titles) - grid.names)))
        for row in grid.rows:
            texts = [_markdown(cell.text) for cell in row.cells]
            lines.append(
                _pipes(
                    [
                        f"**{text}**" if cell.leads else text
                        for cell, text in zip(row.cells, texts, strict=True)
                    ]
                )
            )
        lines.append("")
    return "\n".join([*lines, LEGEND, ""])


def as_csv(tables: Sequence[ScoreTable]) -> str:
    """One line per run, method and measure, with all digits. Empty where there is nothing to compare.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> as_csv(score_tables(runs)).splitlines()[0]
        'run,task,metric,method,images,mean,low,high,leads,reference,difference,...'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            *("run", "task", "metric", "method", "images", "mean", "low", "high", "leads"),
            *("reference", "difference", "difference_low", "difference_high", "p", "p_holm"),
        )
    )
    for table in tables:
        for row in table.rows:
            estimate, paired = row.estimate, row.difference
            compared = (
                [
                    table.reference,
                    paired.estimate.mean,
                    paired.estimate.low,
                    paired.estimate.high,
                    paired.p,
                    paired.p_holm,
                ]
                if paired
                else [""] * 6
            )
            writer.writerow(
                map(
                    no_formula,
                    (
                        *(row.run, table.task, table.measure.key, row.method),
                        *(estimate.images, estimate.mean, estimate.low, estimate.high, int(row.leads)),
                        *compared,
                    ),
                )
            )
    return text.getvalue()


def as_latex(tables: Sequence[ScoreTable], runs: Sequence[Run], *, intervals: bool = False) -> str:
    """A ``table`` of all means of each task, and one per measure, laid out as papers do; needs the package booktabs.

    Arrows say which direction is better. Of means the best of a run is bold and the second underlined, by the three
    digits that are shown; controls stand below a line of their own, and take no part in that.

    Args:
        tables: as from ``score_tables``.
        runs: what they are of; what is missing of one is said in comments.
        intervals: behind every mean ±, half the width of its 95 % interval.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> as_latex(score_tables(runs), runs).splitlines()[0]
        '% \\\\usepackage{booktabs}'
    """
    notes = [f"% {one_line(run)}: {one_line(sentence)}" for run, sentence in unmoved(tables)]
    notes += [f"% {one_line(run.name)}: {gap}" for run in runs for gap in run.gaps]
    blocks = [latex_table(grid, intervals) for grid in as_grids(tables, len(runs) > 1)]
    return "\n".join([r"% \usepackage{booktabs}", *notes, *blocks, f"% {LATEX_LEGEND}", ""])


def _pipes(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", one_line(text))

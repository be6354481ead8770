"""Tables for papers, notes and spreadsheets: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from vitcam.report.figures import MINUS, interval, p_value, plain, signed, signed_interval, titled
from vitcam.report.run import Run
from vitcam.report.tables import ScoreRow, ScoreTable

LEGEND = (
    "Means over images with bootstrap 95 % intervals; differences are paired, image by image; p of the "
    "permutation test, corrected for the number of methods (Holm). Bold: the best, and what can't be told from "
    "it."
)


def header(table: ScoreTable, several_runs: bool) -> list[str]:
    """The titles of a table's columns; the run stands first if there are several."""
    run = ["Run"] if several_runs else []
    compared = [f"− {table.reference}", "95 % interval", "p"] if is_compared(table) else []
    return [*run, "Method", titled(table.measure), "95 % interval", *compared]


def cells(row: ScoreRow, several_runs: bool, compared: bool) -> list[str]:
    """What stands in a row, under ``header``."""
    run = [row.run] if several_runs else []
    values = [*run, row.method, plain(row.estimate.mean), interval(row.estimate)]
    if not compared:
        return values
    if row.difference is None:
        return [*values, "", "", ""]
    estimate = row.difference.estimate
    return [*values, signed(estimate.mean), signed_interval(estimate), p_value(row.difference.p_holm)]


def is_compared(table: ScoreTable) -> bool:
    return any(row.difference for row in table.rows)


def as_markdown(tables: Sequence[ScoreTable], runs: Sequence[Run]) -> str:
    """A section per measure, the best in bold.

    Args:
        tables: as from ``score_tables``.
        runs: what they are of; what is missing of one is said first.
    """
    lines = [f"> {_markdown(run.name)}: {gap}\n" for run in runs for gap in run.gaps]
    task = None
    for table in tables:
        if table.task != task:
            task = table.task
            lines.append(f"## {task.capitalize()}\n")
        titles = header(table, len(runs) > 1)
        names = len(runs) > 1
        lines.append(f"### {_markdown(table.measure.title)}\n\n{_markdown(table.measure.meaning)}\n")
        lines.append(_pipes(list(map(_markdown, titles))))
        lines.append(_pipes(["---"] * (1 + names) + ["--:"] * (len(titles) - 1 - names)))
        for row in table.rows:
            texts = list(map(_markdown, cells(row, names, is_compared(table))))
            if row.leads:
                texts[1 + names] = f"**{texts[1 + names]}**"
            lines.append(_pipes(texts))
        lines.append("")
    return "\n".join([*lines, LEGEND, ""])


def as_csv(tables: Sequence[ScoreTable]) -> str:
    """One line per run, method and measure, with all digits. Empty where there is nothing to compare."""
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
            own, paired = row.estimate, row.difference
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
                (
                    *(row.run, table.task, table.measure.key, row.method),
                    *(own.images, own.mean, own.low, own.high, int(row.leads)),
                    *compared,
                )
            )
    return text.getvalue()


def as_latex(tables: Sequence[ScoreTable], runs: Sequence[Run]) -> str:
    """A ``table`` per measure; needs the package booktabs.

    Args:
        tables: as from ``score_tables``.
        runs: what they are of; what is missing of one is said in comments.
    """
    notes = [f"% {_one_line(run.name)}: {gap}" for run in runs for gap in run.gaps]
    blocks = [_latex_table(table, len(runs) > 1) for table in tables]
    return "\n".join([r"% \usepackage{booktabs}", *notes, *blocks, f"% {LEGEND}", ""])


def _latex_table(table: ScoreTable, several_runs: bool) -> str:
    titles = header(table, several_runs)
    names = 2 if several_runs else 1
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(table.measure.title)}. {_latex(table.measure.meaning)}}}",
        rf"  \label{{tab:{re.sub('[^a-z0-9]+', '-', f'{table.task}-{table.measure.key}'.lower())}}}",
        rf"  \begin{{tabular}}{{{'l' * names}{'r' * (len(titles) - names)}}}",
        r"    \toprule",
        rf"    {' & '.join(map(_latex, titles))} \\",
        r"    \midrule",
    ]
    for row in table.rows:
        texts = list(map(_latex, cells(row, several_runs, is_compared(table))))
        if row.leads:
            texts[names] = rf"\textbf{{{texts[names]}}}"
        lines.append(rf"    {' & '.join(texts)} \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _pipes(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", _one_line(text))


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
    return "".join(_LATEX.get(char, char) for char in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())

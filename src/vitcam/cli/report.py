"""``vitcam report``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcam.cli.terminal import PIPED_WIDTH, PrintableConsole, echo, stderr, stdout
from vitcam.writing import write_whole

if TYPE_CHECKING:
    from rich.table import Table

    from vitcam.report import Run, ScoreTable
    from vitcam.report.grids import Grid


class Format(str, Enum):
    """Of the tables."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders that `vitcam evaluate` wrote.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="Of the tables.")] = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default="the terminal", help="Where the tables go."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="RUN/report.html; report.html for several runs",
            help="Where the page goes.",
        ),
    ] = None,
    no_html: Annotated[bool, typer.Option("--no-html", metavar="", help="Write no page.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", show_default="all", help="Such as iou or abpc; repeat it."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="METHOD", show_default="agcam", help="What other methods are compared with."),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", metavar="", help="In LaTeX: ± half the interval behind every mean.")
    ] = False,
    as_object: Annotated[
        bool,
        typer.Option("--json", metavar="", help="One object of JSON with all digits, in place of tables."),
    ] = False,
) -> None:
    """Tables, and a self-contained HTML page, of evaluations that are finished or under way.

    The terminal shows all means of each task in one table; the page, FILE and the other formats have more: for each
    measure every mean with its bootstrap 95 % interval, and every method compared with the reference on the same
    images. So does the terminal for the measures that `--metric` names. Only the rows of a run are needed, neither
    model nor dataset.

    Example: `vitcam report run --format latex --metric iou --output table.tex`
    """
    from vitcam.errors import VitcamError
    from vitcam.report import (
        ReportError,
        as_csv,
        as_json,
        as_latex,
        as_markdown,
        read_runs,
        report_page,
        score_tables,
    )

    runs = read_runs(run)
    tables = score_tables(runs, reference=reference, metrics=metric or ())
    if as_object:
        _deliver(f"{json.dumps(as_json(tables, runs), indent=1, ensure_ascii=False)}\n", output)
    elif format is Format.TABLE:
        brief = output is None and not metric
        _print_tables(runs, tables, output, brief)
    else:
        texts = {
            Format.MARKDOWN: lambda: as_markdown(tables, runs),
            Format.CSV: lambda: as_csv(tables),
            Format.LATEX: lambda: as_latex(tables, runs, intervals=intervals),
        }
        _deliver(texts[format](), output)
    if not no_html:
        page = html or (runs[0].path / "report.html" if len(runs) == 1 else Path("report.html"))
        content = report_page(runs, tables).encode()
        try:
            write_whole(page, content)
        except VitcamError as error:
            raise ReportError(
                f"{error}. --html FILE puts the page elsewhere, --no-html writes none"
            ) from error
        stderr().print(f"The page is in {page}", soft_wrap=True)


def _print_tables(
    runs: Sequence[Run], tables: Sequence[ScoreTable], output: Path | None, brief: bool
) -> None:
    from vitcam.report.listing import as_grids, overviews
    from vitcam.report.text import LEGEND
    from vitcam.report.unmoved import unmoved

    text = io.StringIO()
    console = stdout() if output is None else PrintableConsole(file=text, width=PIPED_WIDTH, markup=False)
    for name, sentence in unmoved(tables):
        console.print(f"{name}: {sentence}", style="yellow", soft_wrap=True)
    for run in runs:
        for gap in run.gaps:
            console.print(f"{run.name}: {gap}", style="yellow", soft_wrap=True)
    for grid in (overviews if brief else as_grids)(tables, len(runs) > 1):
        console.print(_table(grid))
    if brief:
        console.print(
            "Bold: the best, and what can't be told from it. Intervals and paired differences: on the page, with "
            "--metric NAME, or as --format markdown, latex, csv, --json",
            style="dim",
            soft_wrap=True,
        )
    else:
        console.print(LEGEND, style="dim")
    if output is not None:
        write_whole(output, text.getvalue().encode())


def _table(grid: Grid) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=f"{grid.task.capitalize()}: {grid.title}",
        title_justify="left",
        caption=grid.meaning,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for i, title in enumerate(grid.titles):
        drawn.add_column(Text(title), justify="left" if i < grid.names else "right", no_wrap=i >= grid.names)
    for row in grid.rows:
        drawn.add_row(*(Text(cell.text, "bold" if cell.leads else "") for cell in row.cells))
    return drawn


def _deliver(text: str, output: Path | None) -> None:
    if output is None:
        echo(text)
    else:
        write_whole(output, text.encode())

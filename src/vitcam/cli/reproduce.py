"""``vitcam reproduce``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitcam.cli.evaluate import progress_bars, resumable
from vitcam.cli.options import (
    BatchSize,
    DataOptions,
    DataSpec,
    Device,
    MultiLabel,
    Precision,
    PrecisionOption,
    read_data_options,
)
from vitcam.cli.terminal import stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from vitcam.evaluation.reproducing import Reproduced


def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="By the name of its method: agcam.")],
    data: DataSpec,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="The run's folder.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="SPEC", show_default="the paper's", help="See `vitcam models`."
        ),
    ] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default="none", help="Besides the paper's; repeat it."),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            show_default="none",
            help="The paper's figures, in the form of a summary.json, to stand beside those measured.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, show_default="all", help="Photographs, drawn from the whole dataset."
        ),
    ] = None,
    batch_size: BatchSize = 8,
    precision: PrecisionOption = Precision.FP32,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of --limit, noise and intervals.")] = 0,
    device: Device = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            show_default="as long as it takes",
            help="Stop after 2h, 90m, 45s; the same command goes on.",
        ),
    ] = None,
    data_option: DataOptions = None,
    multi_label: MultiLabel = False,
) -> None:
    """Repeat a paper's evaluation, its tables laid out as there.

    One run of `vitcam evaluate all` by the paper's protocol, with its model and the methods that it compares;
    interrupted, the same command goes on. `vitcam report RUN` says more about it. vitcam has none of the paper's own
    figures: `--published` takes them.

    Example: `vitcam reproduce agcam --data imagenet:ILSVRC --method tempercam --output again`
    """
    from vitcam.evaluation.reproducing import find_reproduction, laid_out
    from vitcam.evaluation.reproducing import reproduce as run

    known = find_reproduction(paper)
    theirs = {} if published is None else _read(published)
    laid_out(paper, {}, theirs)  # what is wrong with them is said before hours are spent
    console = stderr()
    with progress_bars(console) as show, resumable(console):
        summary = run(
            paper,
            data,
            output,
            model=model,
            more=method or (),
            limit=limit,
            batch_size=batch_size,
            precision=precision.value,
            seed=seed,
            device=device,
            budget=budget,
            data_options=read_data_options(data_option or [], multi_label),
            progress=show,
            tell=lambda sentence: console.print(sentence, soft_wrap=True),
        )
    for task, rows in laid_out(paper, summary, theirs).items():
        counts = next(iter(summary[task].values()))
        _print_table(stdout(), task.capitalize(), rows, with_theirs=bool(theirs))
        stdout().print(
            f"{counts['images']} images; {counts['skipped_wrong']} predicted wrong and left out\n",
            soft_wrap=True,
        )
    stdout().print(
        f"By the protocol of {known.paper}. Intervals and paired tests: vitcam report {output}",
        soft_wrap=True,
    )
    if any(numbers["unreadable"] for methods in summary.values() for numbers in methods.values()):
        raise typer.Exit(1)


def _read(file: Path) -> Any:
    from vitcam.errors import RunError

    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"can't read the published figures in {file}: {error}") from error


def _print_table(
    console: Console, title: str, rows: Mapping[str, Mapping[str, Reproduced]], with_theirs: bool
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Method", no_wrap=True)
    for heading in next(iter(rows.values())):
        table.add_column(heading, justify="right", no_wrap=True)
        if with_theirs:
            table.add_column("paper", justify="right", no_wrap=True)
    for method, cells in rows.items():
        shown = []
        for cell in cells.values():
            shown += [_number(cell.ours), *([_number(cell.theirs)] if with_theirs else [])]
        table.add_row(method, *shown)
    console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

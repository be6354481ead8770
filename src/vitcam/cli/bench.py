"""``vitcam bench``."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcam.cli.options import Device, Precision, PrecisionOption
from vitcam.cli.terminal import counted, echo, stderr, stdout
from vitcam.writing import check_place, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from vitcam.bench import Group, Machine, Settings

TERMINAL = Path("-")


class Part(str, Enum):
    """Of the benchmark."""

    METHODS = "methods"
    COMPARE = "compare"
    PEERS = "peers"
    SCALING = "scaling"
    EVALUATION = "evaluation"
    FOLDER = "folder"
    START = "start"


def bench(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="See `vitcam models`. Weights are random, unless in a file: SPEC@FILE.",
        ),
    ] = "timm:vit_base_patch16_224",
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch", metavar="N", min=1, show_default="1 and 8", help="Images at a time; repeat it."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="That torch computes with.")] = 2,
    precision: PrecisionOption = Precision.FP32,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default="all",
            help="See `vitcam methods`; repeat it. `all`: captum's at every batch, too. `brief`: those of many "
            "passes at the smallest, with fewer samples.",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, help="Rounds; in each of them everything runs once.")
    ] = 7,
    part: Annotated[
        list[Part] | None,
        typer.Option("--part", show_default="all", help="What is measured; repeat it."),
    ] = None,
    device: Device = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", show_default="none", help="All samples; - is the terminal."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", show_default="none", help="The tables, for documentation."
        ),
    ] = None,
) -> None:
    """Measure what explanations cost, against the model's own prediction and against other libraries.

    Everything that is compared runs in turns in this one process, so that whatever disturbs the machine disturbs
    all of it; times are medians, ratios are taken within a round.

    `methods` has every method; `compare` several methods in one call; `peers` whichever of grad-cam, captum,
    torchcam, lxt and legrad_torch are installed; `scaling` AGCAM against image size, classes and batch;
    `evaluation` and `folder` whole tasks; `start` how soon vitcam begins.

    Ctrl-C ends it; what was measured until then is shown and written.

    The exit status is 1 when something couldn't be measured. Missed targets don't count: machines differ.

    Example: `vitcam bench --part methods --batch 8 --repeats 15 --json bench.json`
    """
    # or torch's profiler tells the terminal when it starts, and that it knows no GPU
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from vitcam.bench import BenchError, Settings, failures, this_machine
    from vitcam.models.device import find_device

    settings = Settings(
        model=model,
        batches=tuple(batch or Settings.batches),
        threads=threads,
        precision=precision.value,
        methods=tuple(method or ()),
        repeats=repeats,
        parts=tuple(each.value for each in part) if part else Settings.parts,
        device=device,
    )
    for file in (json_file, markdown):
        if file not in (None, TERMINAL):
            check_place(file, BenchError)
    machine = this_machine(find_device(device or "cpu"), threads)
    tables = stderr() if json_file == TERMINAL else stdout()
    groups: list[Group] = []
    try:
        _measure_and_print(settings, machine, groups, tables)
    finally:  # what was measured when it was interrupted is worth minutes, too
        if groups:
            _write(settings, machine, groups, json_file, markdown)
    failed = failures(groups)
    if failed:
        raise BenchError(f"{counted(len(failed), 'row')} couldn't be measured, see above")


def _measure_and_print(settings: Settings, machine: Machine, groups: list[Group], tables: Console) -> None:
    from vitcam.bench import run_bench
    from vitcam.bench.tables import LEGEND, heading, processor, remarks

    tables.print(heading(machine, settings), soft_wrap=True)
    watched = tables if tables.is_terminal else stderr()
    try:
        with watched.status("") as status:
            for group in run_bench(settings, tell=status.update):
                groups.append(group)
                tables.print()
                tables.print(_table(group, processor(machine)))
                for remark in remarks(group):
                    tables.print(remark, style="dim", soft_wrap=True)
    finally:
        if groups:
            tables.print()
            tables.print(LEGEND, style="dim")


def _table(group: Group, processor: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from vitcam.bench.tables import table

    header, rows = table(group)
    drawn = Table(
        title=f"{group.title}\n{processor}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for title in header:
        words = title in ("", "Target")
        drawn.add_column(title, justify="left" if words else "right", no_wrap=title != "Target")
    for row in rows:
        texts = [Text(text) for text in row]
        for text in texts[1:]:
            text.highlight_words(["failed", "missed"], style="red")
            text.highlight_words([": met"], style="green")
        drawn.add_row(*texts)
    return drawn


def _write(
    settings: Settings,
    machine: Machine,
    groups: Sequence[Group],
    json_file: Path | None,
    markdown: Path | None,
) -> None:
    from vitcam.bench import to_json
    from vitcam.bench.tables import as_markdown

    text = json.dumps(to_json(machine, settings, groups), indent=1, ensure_ascii=False)
    if json_file == TERMINAL:
        echo(text)
    elif json_file is not None:
        write_whole(json_file, f"{text}\n".encode())
    if markdown is not None:
        write_whole(markdown, as_markdown(machine, settings, groups).encode())

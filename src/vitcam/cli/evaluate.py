"""``vitcam evaluate``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from vitcam.cli.options import (
    EMBEDDED,
    BatchSize,
    DataOptions,
    DataSpec,
    Device,
    ModelSpec,
    MultiLabel,
    Precision,
    PrecisionOption,
    Threshold,
    read_data_options,
)
from vitcam.cli.terminal import counted, echo, stderr, stdout
from vitcam.evaluation.measure import TASKS
from vitcam.evaluation.measures import MEASURES, measures_of

if TYPE_CHECKING:
    from rich.console import Console

    from vitcam.evaluation import Progress
    from vitcam.evaluation.measure import Task as TaskName

_TESTS = "; ".join(", ".join(name for name in MEASURES.ours if MEASURES[name].task == task) for task in TASKS)


class Task(str, Enum):
    """What is evaluated."""

    LOCALIZATION = "localization"
    PERTURBATION = "perturbation"
    SANITY = "sanity"
    ALL = "all"


class ProtocolName(str, Enum):
    """How it is evaluated."""

    PAPER = "paper"
    VITCAM = "vitcam"


def evaluate(
    task: Annotated[
        Task,
        typer.Argument(
            help="Which rows: does it find the object, is it faithful, or both (all); does it pass sanity checks."
        ),
    ],
    data: DataSpec,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="The run's folder.")],
    model: ModelSpec = EMBEDDED,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default="agcam",
            help="See `vitcam methods`, or MODULE:OBJECT; repeat it. The controls random and center always run "
            "along; oracle, the true region, in vitcam's protocol or if asked for.",
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName | None,
        typer.Option(
            show_default="paper; vitcam for sanity",
            help="paper: to the pixel. vitcam: masks, swept thresholds, all perturbation and sanity tests.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            metavar="NAME",
            show_default="all",
            help=f"Of the vitcam protocol; repeat it. {_TESTS}. Or MODULE:OBJECT, one of an installed package, or "
            "quantus:NAME.",
        ),
    ] = None,
    threshold: Threshold = 0.5,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, show_default="all", help="Photographs, drawn from the whole dataset."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=2, help="Of the perturbation curves.")] = 10,
    batch_size: BatchSize = 8,
    precision: PrecisionOption = Precision.FP32,
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Of all draws: --limit's, noise, weights, and the intervals."),
    ] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            show_default="1; on a cluster as many as fit",
            help="Threads that read photographs ahead; on a cluster, tasks at a time.",
        ),
    ] = None,
    device: Device = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default="this process",
            help="Run on Ray: local, auto or ray://HOST:PORT. RUN must be on a file system that all share.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            show_default="as long as it takes",
            help="Stop after 2h, 90m, 45s, 1h30m. Photographs are then measured in random order; the same command "
            "goes on.",
        ),
    ] = None,
    target_width: Annotated[
        float | None,
        typer.Option(
            metavar="WIDTH",
            show_default="all photographs",
            help="Stop when no mean's 95 % interval is wider, such as 0.01; in random order.",
        ),
    ] = None,
    data_option: DataOptions = None,
    multi_label: MultiLabel = False,
    no_gallery: Annotated[
        bool,
        typer.Option("--no-gallery", metavar="", help="Store no small pictures (about 5 kB per photograph)."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            metavar="",
            help="Going on with a run, read what is measured again: has a photograph changed?",
        ),
    ] = False,
    allow_version_change: Annotated[
        bool,
        typer.Option(
            "--allow-version-change",
            metavar="",
            help="Go on with a run of another version of vitcam, torch, timm or transformers.",
        ),
    ] = False,
    as_object: Annotated[
        bool,
        typer.Option("--json", metavar="", help="Print what summary.json holds, in place of the table."),
    ] = False,
) -> None:
    """Measure explanation methods on a dataset: the paper's tables, resumable.

    `localization` explains the predicted class and compares with boxes or masks; `perturbation` explains the
    ground-truth class and removes what the heatmap calls important; `sanity` asks whether maps depend on the
    model, the class and the image, and on nothing else. For models of clips, sounds, volumes or many bands,
    `perturbation` takes `folder:DIR` with a folder of such files per class. RUN gets `run.json`, `rows/` (Parquet,
    one row per image, method and target), `gallery/` (small pictures for `vitcam report`) and
    `summary.json`. Interrupted, even killed, the same command goes on where it was. Photographs that can't be
    used are reported and skipped, and the exit status is then 1.

    Example: `vitcam evaluate localization --data voc:VOC2012 --method agcam --method rollout --output run`
    """
    from vitcam.evaluation import evaluate as run

    console = stderr()
    with progress_bars(console) as show, resumable(console):
        summary = run(
            task.value,
            data,
            model,
            method or ["agcam"],
            output,
            protocol=None if protocol is None else protocol.value,
            tests=test or (),
            threshold=threshold,
            limit=limit,
            steps=steps,
            batch_size=batch_size,
            precision=precision.value,
            seed=seed,
            workers=(1 if cluster is None else 0) if workers is None else workers,
            device=device,
            cluster=cluster,
            gallery=not no_gallery,
            verify=verify,
            allow_version_change=allow_version_change,
            budget=budget,
            target_width=target_width,
            data_options=read_data_options(data_option or [], multi_label),
            progress=show,
            tell=lambda sentence: console.print(sentence, soft_wrap=True),
        )
    if as_object:
        echo(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        for name in TASKS:
            if name in summary:
                _print_summary(stdout(), name, summary[name])
        stdout().print(
            f"Rows and intervals are in {output}; `vitcam report {output}` makes tables and a page",
            soft_wrap=True,
        )
    if any(numbers["unreadable"] for methods in summary.values() for numbers in methods.values()):
        raise typer.Exit(1)


@contextmanager
def resumable(console: Console) -> Iterator[None]:
    """What is said when a run is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or SIGTERM
        console.print("Interrupted. What is done is stored; the same command goes on from there")
        raise


class _Show(Protocol):
    def __call__(self, progress: Progress) -> None: ...


@contextmanager
def progress_bars(console: Console) -> Iterator[_Show]:
    """A bar per task on stderr with images/s and the time left; where nobody watches, nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    ids: dict[str, Any] = {}

    def show(progress: Progress) -> None:
        if progress.task not in ids:
            # the bar counts this command's images only: those restored would spoil the time left
            ids[progress.task] = bars.add_task(
                progress.task, total=progress.total - progress.restored, speed=""
            )
        bar = ids[progress.task]
        done = progress.done - progress.restored
        elapsed = bars.tasks[bar].elapsed or 0
        bars.update(bar, completed=done, speed=f"{done / elapsed:.1f} images/s" if done and elapsed else "")

    with bars:
        yield show


def _print_summary(console: Console, task: TaskName, methods: Mapping[str, Mapping[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    declared = (
        (number.key, number.short or number.title) for each in measures_of(task) for number in each.in_brief
    )
    shown = [(key, title) for key, title in declared if any(key in numbers for numbers in methods.values())]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Method", no_wrap=True)
    for _, title in shown:
        table.add_column(title, justify="right", no_wrap=True)
    for method, numbers in methods.items():
        table.add_row(method, *(f"{numbers[key]:.3f}" if key in numbers else "–" for key, _ in shown))
    console.print(task.capitalize(), style="bold")
    first = next(iter(methods.values()))
    if first["images"]:
        console.print(table)
    left_out = [
        f"{first[key]} {what}"
        for key, what in (
            ("skipped_wrong", "predicted wrong"),
            ("unreadable", "that can't be read or compared with"),
            ("unmatched", "of classes that the model doesn't know"),
        )
        if first[key]
    ]
    console.print(
        f"{counted(first['images'], 'image')}; left out: {', '.join(left_out) or 'none'}", soft_wrap=True
    )
    if first.get("stopped"):
        done = sum(first[key] for key in ("images", "skipped_wrong", "unreadable"))
        console.print(
            f"{done:,} of {counted(first['planned'], 'image')} measured, in random order; stopped by the "
            f"{first['stopped']}",
            soft_wrap=True,
        )
    console.print()

"""``vitcam train-head``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitcam.cli.options import (
    EMBEDDED,
    BatchSize,
    DataOptions,
    DataSpec,
    Device,
    ModelSpec,
    MultiLabel,
    read_data_options,
)
from vitcam.cli.terminal import counted, progress_bar, stderr, stdout
from vitcam.printable import percent


def train_head(
    data: DataSpec,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="HEAD.safetensors", help="The head.")],
    model: ModelSpec = EMBEDDED,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="FRACTION", min=0, max=1, help="Of the photographs, to measure the accuracy on."
        ),
    ] = 0.2,
    weight_decay: Annotated[
        float, typer.Option(metavar="NUMBER", min=0, help="How strongly large weights are held down.")
    ] = 1e-2,
    batch_size: BatchSize = 16,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the split.")] = 0,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Threads that read photographs ahead.")
    ] = 1,
    device: Device = None,
    data_option: DataOptions = None,
    multi_label: MultiLabel = False,
) -> None:
    """Train a linear head on a frozen model, so that it knows the classes of a dataset.

    The model's features are computed once and kept beside the head. Use it as SPEC+HEAD.safetensors wherever
    a model is asked for.

    Example: `vitcam train-head --model timm:vit_base_patch16_224 --data folder:birds -o birds.safetensors`
    """
    from vitcam.evaluation import open_dataset
    from vitcam.evaluation.train_head import train_head as train

    dataset = open_dataset(data, **read_data_options(data_option or [], multi_label))
    for note in dataset.notes:
        stderr().print(note, soft_wrap=True)
    with progress_bar(stderr(), enabled=True) as bar:
        task = bar.add_task("Computing features", total=None)
        trained = train(
            model,
            dataset,
            output,
            held_out=held_out,
            weight_decay=weight_decay,
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console = stdout()
    precision = trained.mean_average_precision
    extra = "" if precision is None else f", mean average precision {percent(precision)}"
    console.print(
        f"Held-out accuracy {percent(trained.accuracy)}{extra} on {counted(trained.held_out, 'photograph')}; "
        f"trained on {trained.trained} others, of {trained.classes} classes in all"
        + (f"; {trained.unreadable} can't be read" if trained.unreadable else ""),
        soft_wrap=True,
    )
    if trained.untaught:
        named = ", ".join(trained.untaught[:5]) + (", …" if len(trained.untaught) > 5 else "")
        console.print(
            f"Classes without a photograph to learn from: {named} ({len(trained.untaught)})", soft_wrap=True
        )
    console.print(f"Use it as --model {model}+{trained.path}", soft_wrap=True)

"""``vitcam export``."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vitcam.cli.options import EMBEDDED, ModelSpec
from vitcam.cli.terminal import stderr, stdout

_SIZE = re.compile(r"([1-9]\d*)(?:x([1-9]\d*))?")


class ClassesName(str, Enum):
    """Which classes the exported model explains."""

    TOP1 = "top1"
    TOP5 = "top5"
    ALL = "all"


def export(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE.onnx", help="The model; its description is FILE.json."),
    ],
    model: ModelSpec = EMBEDDED,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="agcam, tempercam, rollout or attention. Options in brackets: \"agcam(layers='last:4')\".",
        ),
    ] = "agcam",
    classes: Annotated[
        ClassesName, typer.Option(help="Explained of each image: the most probable ones, or all.")
    ] = ClassesName.TOP1,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            show_default=False,
            help='For CLIP: what the classes are, such as "a photo of a cat"; repeat it.',
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            show_default="the model's own",
            help="Of the images: 384 or 480x640, height by width, where the model takes others than its own.",
        ),
    ] = None,
    timing: Annotated[
        bool, typer.Option(help="Also export the plain model, and measure what the heatmaps cost.")
    ] = True,
) -> None:
    """Write a model as one ONNX file that answers with logits and heatmaps, without PyTorch.

    Input: `images`, normalised, any number of them. Outputs: `logits`, `targets` (the classes explained) and
    `heatmaps` on the patch grid. How to prepare images and what the classes are called stands in the file's
    metadata, and again in FILE.json. The file is compared with PyTorch on a photograph and on noise, and only
    written where they agree. One that is there already is replaced.

    Example: `vitcam export --model timm:vit_base_patch16_224 --classes top5 --output model.onnx`
    """
    from vitcam.export import export_onnx, measure_cost
    from vitcam.models.load import load_model

    console = stdout()
    image_size = None if size is None else _read_size(size)
    with stderr().status("Exporting, and comparing with PyTorch …"):
        loaded = load_model(model)
        if text:
            loaded = loaded.with_prompts(text)
        exported = export_onnx(loaded, output, method, classes.value, image_size)
    assert exported.agreement is not None
    megabytes = exported.path.stat().st_size / 1e6
    console.print(
        f"{exported.path} ({megabytes:.0f} MB) answers as PyTorch does: heatmaps within "
        f"{exported.agreement.heatmaps:.0e} of their maximum, logits within {exported.agreement.logits:.0e} of "
        "their spread",
        soft_wrap=True,
    )
    if timing:
        with stderr().status("Timing it against the plain model …"):
            cost = measure_cost(loaded, exported.path)
        console.print(
            f"One image in ONNX Runtime, one thread: {1e3 * cost.plain:.1f} ms for logits alone, "
            f"{1e3 * cost.explained:.1f} ms with heatmaps: {cost.ratio:.2f}×",
            soft_wrap=True,
        )


def _read_size(text: str) -> tuple[int, int]:
    """(height, width) from "384" or "480x640"."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"expected pixels, as 384 or 480x640, got {text!r}", param_hint="--size")
    return int(match[1]), int(match[2] or match[1])

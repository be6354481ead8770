"""``vitcam export``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vitcam.cli.options import EMBEDDED, ModelSpec
from vitcam.cli.terminal import stderr, stdout


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
    method: Annotated[str, typer.Option(metavar="NAME", help="agcam, rollout or attention.")] = "agcam",
    classes: Annotated[
        ClassesName, typer.Option(help="Explained of each image: the most probable ones, or all.")
    ] = ClassesName.TOP1,
    timing: Annotated[
        bool, typer.Option(help="Also export the plain model, and measure what the heatmaps cost.")
    ] = True,
) -> None:
    """Write a model as one ONNX file that answers with logits and heatmaps, without PyTorch.

    Input: `images`, normalised, any number of them. Outputs: `logits`, `targets` (the classes explained) and
    `heatmaps` on the patch grid. FILE.json says how to prepare images and what the classes are called. The
    file is compared with PyTorch on a photograph and on noise, and only written where they agree.

    Example: `vitcam export --model timm:vit_base_patch16_224 --classes top5 --output model.onnx`
    """
    from vitcam.export import export_onnx, measure_cost
    from vitcam.models.load import load_model

    console = stdout()
    with stderr().status("Exporting, and comparing with PyTorch …"):
        loaded = load_model(model)
        exported = export_onnx(loaded, output, method, classes.value)
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

"""Options that several commands share, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer


class Precision(str, Enum):
    """Of the forward pass."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class ScoredBy(str, Enum):
    """What a class is scored by."""

    LOGIT = "logit"
    PROBABILITY = "probability"


class AnimationFormat(str, Enum):
    """How an animation is written."""

    WEBP = "webp"
    GIF = "gif"


EMBEDDED = "embedded:photo"
"""The model that comes with vitcam."""

MORE_CLASSES = "A model of 1,000 classes: --model timm:vit_base_patch16_224 (350 MB; see vitcam models)."

ModelSpec = Annotated[str, typer.Option("--model", "-m", metavar="SPEC", help="See `vitcam models`.")]

PrecisionOption = Annotated[Precision, typer.Option(help="Of the forward pass.")]

BatchSize = Annotated[
    int, typer.Option(metavar="N", min=1, help="Photographs that go through the model at once.")
]

Device = Annotated[
    str | None, typer.Option(metavar="NAME", show_default="cpu", help="Such as cuda, or auto.")
]

Threshold = Annotated[
    float, typer.Option(metavar="FRACTION", min=0, max=1, help="Boxes surround what is hotter than this.")
]

DataSpec = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="KIND:PATH",
        help="KIND is imagenet, voc, cub, tiny-imagenet, imagenet-seg, coco, folder, mosaic or synthetic; or "
        "MODULE:OBJECT, or one of an installed package. mosaic takes another KIND:PATH as PATH, synthetic none.",
    ),
]

DataOptions = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="For the dataset's reader, such as image_set=Main/test."),
]

MultiLabel = Annotated[
    bool, typer.Option("--multi-label", metavar="", help="Photographs of several classes too (voc).")
]


TilesOption = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        metavar="SIZE,OVERLAP",
        show_default="the whole",
        help="Cut larger photographs into tiles of so many pixels, such as 224,32, and explain each as one map.",
    ),
]


def read_tiles(given: str | None) -> tuple[int, int] | None:
    """Size and overlap of ``--tiles``.

    Raises:
        typer.BadParameter: it isn't two whole numbers, the first of them larger.

    Example:
        >>> read_tiles("224,32")
        (224, 32)
    """
    if given is None:
        return None
    size, comma, overlap = (part.strip() for part in given.partition(","))
    if not comma or not size.isdecimal() or not overlap.isdecimal():
        raise typer.BadParameter(
            f"expected SIZE,OVERLAP in pixels of the photograph, such as 224,32; got {given!r}",
            param_hint="--tiles",
        )
    if not int(overlap) < int(size):
        raise typer.BadParameter(
            f"the overlap, {int(overlap)}, must be smaller than a tile, {int(size)}", param_hint="--tiles"
        )
    return int(size), int(overlap)


def read_data_options(pairs: Sequence[str], multi_label: bool) -> dict[str, Any]:
    """Options of a dataset's reader from ``KEY=VALUE``: whole numbers and true/false as such, else text.

    Raises:
        typer.BadParameter: one isn't of this form.

    Example:
        >>> read_data_options(["image-set=Main/test", "year=2012"], multi_label=False)
        {'image_set': 'Main/test', 'year': 2012}
    """
    words = {"true": True, "false": False}
    options: dict[str, Any] = {"multi_label": True} if multi_label else {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"expected KEY=VALUE, got {pair!r}", param_hint="--data-option")
        options[key.replace("-", "_")] = int(value) if value.isdecimal() else words.get(value, value)
    return options

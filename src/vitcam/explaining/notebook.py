"""How explanations show themselves in a notebook: as a picture, at once, of the first few images and classes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from io import BytesIO

from PIL import Image

from vitcam.errors import VitcamError
from vitcam.explaining.explanation import Explanation
from vitcam.explaining.figures import figure
from vitcam.types import sides

IMAGES, TARGETS, PICTURES = 4, 10, 40
"""The most that are shown: of images, of targets, and of maps in all."""

TILE = 200
"""The side of each in pixels, so that six stand beside each other."""

Shown = Explanation | Mapping[str, Explanation]


def as_html(shown: Shown) -> str:
    """The picture, and what it shows; where it can't be drawn, why."""
    said = _said(shown)
    try:
        picture, left_out = _drawn(shown)
    except VitcamError as error:
        return f"<p>{escape(said)}</p><p>No picture: {escape(str(error))}</p>"
    data = b64encode(_encoded(picture, "JPEG", quality=90)).decode()
    return (
        f'<figure style="margin:0"><img style="max-width:100%" alt="{escape(said)}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{escape(said + left_out)}</figcaption></figure>'
    )


def as_text(explanation: Explanation) -> str:
    """What an explanation is of, in one line.

    Example:
        >>> as_text(vitcam.explain(photo_model, photo))
        'Explanation(agcam, 1 image × 1 target, maps of 12×12)'
    """
    images, targets, *grid = explanation.heatmaps.shape
    device = explanation.heatmaps.device
    kind = "image" if explanation.kind == "picture" else explanation.kind
    said = [
        explanation.method,
        f"{_counted(images, kind)} × {_counted(targets, 'target')}"
        + ("" if explanation.versus is None else ", versus another class")
        + ("" if explanation.score == "logit" or explanation.answered else f", of a {explanation.score}"),
        *([_counted(len(explanation.tiles), "tile")] if explanation.tiles else []),
        f"maps of {sides(grid)}",
    ]
    where = "" if device.type == "cpu" else f", on {device}"
    return f"Explanation({', '.join(said)}{where})"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def as_png(shown: Shown) -> bytes | None:
    """The picture; None where it can't be drawn, which the HTML beside it explains."""
    try:
        return _encoded(_drawn(shown)[0], "PNG")
    except VitcamError:
        return None


def _drawn(shown: Shown) -> tuple[Image.Image, str]:
    """The figure of the first few, and a note on what isn't in it."""
    by_name = {shown.method: shown} if isinstance(shown, Explanation) else shown
    first = next(iter(by_name.values()), None)
    if first is None:
        return figure(by_name, tile=TILE), ""
    images, targets = first.targets.shape
    of_targets = min(targets, TARGETS)
    of_images = min(images, IMAGES, max(1, PICTURES // (max(of_targets, 1) * len(by_name))))
    some = {
        name: replace(
            each[:of_images],
            heatmaps=each.heatmaps[:of_images, :of_targets],
            targets=each.targets[:of_images, :of_targets],
            versus=None if each.versus is None else each.versus[:of_images, :of_targets],
            answered=tuple(row[:of_targets] for row in each.answered[:of_images]),
        )
        for name, each in by_name.items()
    }
    parts = [
        f"{shown_} of {all_} {what}"
        for shown_, all_, what in ((of_images, images, "images"), (of_targets, targets, "targets"))
        if shown_ < all_
    ]
    return figure(some, tile=TILE), f". Shown: {' and '.join(parts)}" if parts else ""


def _said(shown: Shown) -> str:
    return repr(shown) if isinstance(shown, Explanation) else f"Comparison of {', '.join(shown)}"


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    content = BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()

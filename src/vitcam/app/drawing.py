"""From maps to pictures and HTML. No model runs in here.

Whatever a visitor, a file or a model has named is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from vitcam.app.answers import Answer
from vitcam.app.layers import Heads
from vitcam.app.photo_files import reduced
from vitcam.boxes import boxes_from_heatmap
from vitcam.explaining import Decomposition, Explanation, figure
from vitcam.explaining.figures import is_blind
from vitcam.heatmap import normalize, upsample
from vitcam.printable import percent
from vitcam.render import Cell, overlay
from vitcam.render.overlay import DEFAULT_OPACITY
from vitcam.render.scale_bar import scale


@dataclass(frozen=True)
class Look:
    """How maps are drawn.

    Attributes:
        opacity: of the colour at the hottest point.
        boxes: whether boxes are drawn.
        threshold: what they surround is hotter than this.
    """

    opacity: float = DEFAULT_OPACITY
    boxes: bool = False
    threshold: float = 0.5


def grid(answer: Answer, look: Look) -> Image.Image:
    """The maps over their photograph: methods across, classes down."""
    return figure(
        answer.explanations,
        boxes=look.threshold if look.boxes else False,
        photo_label=answer.case.file.name,
        notes=[answer.case.spec],
        opacity=look.opacity,
    )


def overlays(answer: Answer, look: Look, tile: int = 320) -> list[list[Image.Image]]:
    """The same without labels: per class, per method a picture."""
    small = reduced(answer.first.photographs[0], tile)
    columns = [_cells(explanation, look) for explanation in answer.explanations.values()]
    rows = zip(*columns, strict=True)
    return [[overlay(small, c.heat, opacity=look.opacity, boxes=c.boxes) for c in row] for row in rows]


def layer_overlays(answer: Answer, parts: Decomposition, target: int, look: Look) -> list[Image.Image]:
    """Each layer's own map over the photograph, each scaled on its own."""
    return [_over(answer, heat, look, tile=200) for heat in parts.maps[0, target].sum(dim=1)]


def kept_overlay(
    answer: Answer, parts: Decomposition, target: int, on: Bool[np.ndarray, "layers heads"], look: Look
) -> Image.Image:
    """The map of the heads that are switched on, over the photograph."""
    return _over(answer, parts.total(torch.as_tensor(on))[0, target], look, tile=320)


def _over(answer: Answer, heat: Float[Tensor, "h w"], look: Look, tile: int) -> Image.Image:
    first = answer.first
    pixels = normalize(upsample(heat[None, None], first.image_size, first.region))[0, 0].cpu().numpy()
    boxes = boxes_from_heatmap(pixels, look.threshold) if look.boxes else []
    return overlay(reduced(answer.first.photographs[0], tile), pixels, opacity=look.opacity, boxes=boxes)


def _cells(explanation: Explanation, look: Look) -> list[Cell]:
    maps = explanation.upsampled()[0].cpu().numpy()
    boxes = explanation.boxes(look.threshold)[0] if look.boxes else [[] for _ in maps]
    return [Cell(heat, boxes=found) for heat, found in zip(maps, boxes, strict=True)]


def notes(answer: Answer) -> list[str]:
    """What a visitor should know about the maps."""
    blind = [name for name, explanation in answer.explanations.items() if is_blind(explanation)]
    return [f"The same map for every class: {', '.join(blind)}."] if blind else []


def maps_html(answer: Answer, look: Look) -> str:
    """The grid of maps as a table: methods across, classes down."""
    photograph = as_image(reduced(answer.first.photographs[0], 320), answer.case.file.name)
    columns = ("photograph", *answer.methods)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    ratio = "{} / {}".format(*answer.first.photographs[0].size)
    pending = f'<span class="pending" style="aspect-ratio: {ratio}">to come</span>'
    rows = []
    for name, share, pictures in zip(answer.names, answer.probabilities, overlays(answer, look), strict=True):
        maps = {
            method: as_image(picture, f"{method} for {name}")
            for method, picture in zip(answer.explanations, pictures, strict=True)
        }
        cells = (photograph, *(maps.get(method, pending) for method in answer.methods))
        row = (
            f'<td data-column="{escape(column)}">{cell}</td>'
            for column, cell in zip(columns, cells, strict=True)
        )
        rows.append(
            f'<tr class="class"><th scope="rowgroup" colspan="{len(columns)}">'
            f"<span>{escape(name)} <small>{escape(percent(share))}</small></span></th></tr>"
            f'<tr class="maps" style="max-width: {328 * len(columns)}px">{"".join(row)}</tr>'
        )
    spec = escape(answer.case.spec)
    return (
        f'<div class="vitcam-maps" tabindex="0" role="region" aria-label="Maps of {spec}">'
        f"<table><caption><span>{spec}</span>{scale_html(look)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{notes_html(answer)}</div>"
    )


def notes_html(answer: Answer, more: Sequence[str] = ()) -> str:
    """What stands below the maps."""
    without = (f"No map by {name}: {problem}" for name, problem in answer.problems.items())
    said = (*more, *answer.heard, *answer.wrong_classes, *notes(answer), *without)
    return "".join(f'<p class="vitcam-note">{escape(text)}</p>' for text in said)


def scale_html(look: Look) -> str:
    """What colours mean, as in panels."""
    data = as_data(_encoded(scale(128, 12, look.opacity), "PNG"), "png")
    return (
        '<span class="vitcam-scale">min <span class="colors" role="img" aria-label="colours from cold to hot" '
        f'style="background-image: url({data})"></span> max <small>of each map</small></span>'
    )


def status_html(text: str, done: int | None = None, total: int = 1) -> str:
    """What is being done, and how much of it is; without ``done``, that nothing is done any more."""
    bar = (
        ""
        if done is None
        else f'<span class="bar"><i style="width: {100 * done // max(total, 1)}%"></i></span>'
    )
    share = f" · {done} of {total} methods done" if done else ""
    return f'<p class="vitcam-status">{bar}<span>{escape(text + share)}</span></p>'


def kept_html(answer: Answer, parts: Decomposition, heads: Heads, look: Look) -> str:
    """The map of the heads that are switched on, beside the whole."""
    name, target = answer.names[heads.target], heads.target
    figures = [
        (kept_overlay(answer, parts, target, on, look), label)
        for on, label in (
            (heads.all_on, "all layers and heads: 100 %"),
            (heads.on, f"those switched on: {percent(heads.share)}"),
        )
    ]
    drawn = _figures([(picture, f"{label} of agcam for {name}", label) for picture, label in figures], "kept")
    return drawn + scale_html(look)


def layers_html(answer: Answer, parts: Decomposition, heads: Heads, look: Look) -> str:
    """Each layer's own map, with its share of the whole."""
    name = answer.names[heads.target]
    pictures = layer_overlays(answer, parts, heads.target, look)
    labels = [
        f"layer {index}: {percent(share)}" for index, share in enumerate(heads.shares.sum(axis=1).tolist())
    ]
    return _figures(
        [
            (picture, f"{label} of agcam for {name}", label)
            for picture, label in zip(pictures, labels, strict=True)
        ],
        "layers",
    )


def paragraphs(text: str) -> str:
    """A plain text as HTML, its line breaks kept.

    Example:
        >>> paragraphs("<b>\\nfat")
        '&lt;b&gt;<br>fat'
    """
    return escape(text).replace("\n", "<br>")


def _figures(figures: list[tuple[Image.Image, str, str]], kind: str) -> str:
    inner = "".join(
        f"<figure>{as_image(picture, alt)}<figcaption>{escape(label)}</figcaption></figure>"
        for picture, alt, label in figures
    )
    return f'<div class="vitcam-figures {kind}">{inner}</div>'


def as_image(picture: Image.Image, alt: str) -> str:
    """A picture of a page."""
    return (
        f'<img src="{as_data(_encoded(picture, "JPEG", quality=88), "jpeg")}" alt="{escape(alt)}" '
        f'width="{picture.width}" height="{picture.height}">'
    )


def as_data(content: bytes, kind: str) -> str:
    """A picture's file as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()

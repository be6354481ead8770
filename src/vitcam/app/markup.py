"""What the page shows as HTML. Whatever a visitor, a file or a model has named is escaped."""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from vitcam.app.answering import Answer
from vitcam.app.drawing import Look, kept_overlay, layer_overlays, notes, overlays
from vitcam.app.heads import Heads
from vitcam.app.photograph import reduced
from vitcam.explaining import Decomposition
from vitcam.printable import percent


def maps_html(answer: Answer, look: Look) -> str:
    """The grid of maps as a table: methods across, classes down."""
    photograph = _image(reduced(answer.first.photographs[0], 320), answer.subject.photograph.name)
    columns = ("photograph", *answer.methods)
    head = "".join(f'<th scope="col">{_breakable(name)}</th>' for name in columns)
    ratio = "{} / {}".format(*answer.first.photographs[0].size)
    pending = f'<td class="pending"><span style="aspect-ratio: {ratio}">to come</span></td>'
    rows = []
    for name, share, pictures in zip(answer.names, answer.probabilities, overlays(answer, look), strict=True):
        found = {
            method: f"<td>{_image(picture, f'{method} for {name}')}</td>"
            for method, picture in zip(answer.explanations, pictures, strict=True)
        }
        maps = "".join(found.get(method, pending) for method in answer.methods)
        rows.append(
            f'<tr class="class"><th scope="rowgroup" colspan="{len(columns)}">'
            f"<span>{escape(name)} <small>{escape(percent(share))}</small></span></th></tr>"
            f"<tr><td>{photograph}</td>{maps}</tr>"
        )
    spec = escape(answer.subject.spec)
    said = [*notes(answer), *(f"No map by {name}: {problem}" for name, problem in answer.problems.items())]
    note = "".join(f'<p class="vitcam-note">{escape(text)}</p>' for text in said)
    return (
        f'<div class="vitcam-maps" tabindex="0" role="region" aria-label="Maps of {spec}">'
        f'<table style="min-width: {100 * len(columns)}px">'
        f"<caption><span>{spec}</span></caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"</table>{note}</div>"
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
    return _figures([(picture, f"{label} of agcam for {name}", label) for picture, label in figures], "kept")


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


def _breakable(name: str) -> str:
    """A method's name, its options on a line of their own where there is little room."""
    return escape(name).replace("(", "<wbr>(")


def _figures(figures: list[tuple[Image.Image, str, str]], kind: str) -> str:
    inner = "".join(
        f"<figure>{_image(picture, alt)}<figcaption>{escape(label)}</figcaption></figure>"
        for picture, alt, label in figures
    )
    return f'<div class="vitcam-figures {kind}">{inner}</div>'


def _image(picture: Image.Image, alt: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" '
        f'width="{picture.width}" height="{picture.height}">'
    )

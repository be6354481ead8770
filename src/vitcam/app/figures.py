"""Answers as one figure, and what changes in time as animations. No model runs in here; names are escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from PIL import Image

from vitcam.app.answers import Answer
from vitcam.app.drawing import Look, as_data, as_image, grid, maps_html, notes_html
from vitcam.app.tabs import PHOTOGRAPHS
from vitcam.explaining import animation
from vitcam.render.animation import animated

SECONDS = 0.25
"""That a frame of an animation stands."""

MOVING = 4
"""Maps that are animated, at most; animations take room and time."""


def answer_html(answer: Answer, look: Look) -> str:
    """The maps of an answer, in whichever way its kind of input is shown."""
    return (maps_html if answer.case.file.tab is PHOTOGRAPHS else figure_html)(answer, look)


def figure_html(answer: Answer, look: Look) -> str:
    """The figure of an answer, and of what changes in time also animations."""
    to_come = [name for name in answer.methods if name not in answer.explanations]
    said = [f"To come: {', '.join(to_come)}"] if to_come else []
    moving = [] if to_come else list(animations(answer, look))
    if moving and len(moving) < len(answer.explanations) * len(answer.classes):
        said.append(f"The first {len(moving)} maps are animated.")
    maps = f"{', '.join(answer.explanations)} for {', '.join(answer.names)}"
    whole = as_image(grid(answer, look), f"{answer.case.file.name}: maps by {maps}")
    beside = "".join(
        f'<figure><img src="{as_data(content, "webp")}" alt="{escape(label)}, animated">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
        for label, content in moving
    )
    moving_html = f'<div class="moving">{beside}</div>' if beside else ""
    return (
        f'<div class="vitcam-figure" tabindex="0" role="region" aria-label="Maps of {escape(answer.case.spec)}">'
        f"{whole}{moving_html}{notes_html(answer, said)}</div>"
    )


def animations(answer: Answer, look: Look) -> Iterator[tuple[str, bytes]]:
    """Of what changes in time, the first maps as animations: what each is of, and the content of a WebP file."""
    if answer.case.file.tab.kind.moments is None:
        return
    pairs = [(method, t) for method in answer.explanations for t in range(len(answer.classes))]
    for method, t in pairs[:MOVING]:
        frames: list[Image.Image] = list(
            animation(answer.explanations[method], t=t, opacity=look.opacity).frames
        )
        yield f"{method} for {answer.names[t]}", animated(frames, ".webp", SECONDS)

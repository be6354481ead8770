"""The scale that the overlays of a panel share."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from vitcam.render.overlay import overlay
from vitcam.render.stack import beside, blank
from vitcam.render.text import INK, PALE_INK, font, set_lines


@cache
def scale_bar(em: int, opacity: float, colormap: str) -> Image.Image:
    """Heat from cold to hot, as an overlay shows it on a mid-grey photograph, with what its ends mean.

    Args:
        em: the size of the type in pixels.
        opacity, colormap: those of the overlays.
    """
    grey = Image.new("RGB", (9 * em, em), (128, 128, 128))
    bar = overlay(grey, np.linspace(0, 1, grey.width)[None], opacity=opacity, colormap=colormap)
    face = font(em)
    words = [
        set_lines([(word, face, ink)], round(face.getlength(word)))
        for word, ink in (("min", INK), ("max", INK), ("of each map", PALE_INK))
    ]
    return beside([words[0], _raised(bar, words[0].height), *words[1:]], gap=round(0.5 * em))


def _raised(bar: Image.Image, height: int) -> Image.Image:
    """The bar in the middle of a line of text."""
    line = blank(bar.width, height)
    line.paste(bar, (0, (height - bar.height) // 2))
    return line

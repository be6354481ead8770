"""The scale that the overlays of a panel share."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from vitcam.render.colors import DEFAULT_COLORMAP
from vitcam.render.overlay import overlay
from vitcam.render.stack import beside, blank
from vitcam.render.text import INK, PALE_INK, font, set_lines


def scale(width: int, height: int, opacity: float, colormap: str = DEFAULT_COLORMAP) -> Image.Image:
    """Heat from cold to hot, as an overlay shows it on a mid-grey photograph.

    Args:
        width, height: in pixels.
        opacity, colormap: those of the overlays.
    """
    grey = Image.new("RGB", (width, height), (128, 128, 128))
    return overlay(grey, np.linspace(0, 1, width)[None], opacity=opacity, colormap=colormap)


@cache
def scale_bar(em: int, opacity: float, colormap: str) -> Image.Image:
    """The scale, with what its ends mean.

    Args:
        em: the size of the type in pixels.
        opacity, colormap: those of the overlays.
    """
    bar = scale(9 * em, em, opacity, colormap)
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

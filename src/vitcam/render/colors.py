"""Colours for heat: perceptually uniform maps, so that equal steps of heat look like equal steps."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from vitcam.errors import VitcamError
from vitcam.render.heat import checked_heat

DEFAULT_COLORMAP = "inferno"
"""Black, purple, orange, pale yellow: its lightness rises with heat all the way, also in grey print, and its
bright end is a colour that few photographs have over large areas."""

COLORMAPS = ("inferno", "magma", "plasma", "viridis", "cividis")
"""Matplotlib's perceptually uniform maps."""


def colorize(heat: ArrayLike, colormap: str = DEFAULT_COLORMAP) -> UInt8[np.ndarray, "H W 3"]:
    """Give every value of a map its colour.

    Args:
        heat: one map (height, width) with values in 0..1.
        colormap: one of ``COLORMAPS``.

    Returns:
        RGB, 0..255.

    Raises:
        ImageError: the map isn't one finite map in 0..1.
        VitcamError: there is no such colour map.

    Example:
        >>> colorize(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 4], [252, 255, 164]]]
    """
    table = color_table(colormap)
    colors: np.ndarray = table[np.rint(checked_heat(heat) * (len(table) - 1)).astype(np.uint8)]
    return colors


@cache
def color_table(colormap: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of a map from cold to hot."""
    if colormap not in COLORMAPS:
        raise VitcamError(f"There is no colour map {colormap!r} here. There are: {', '.join(COLORMAPS)}.")
    from matplotlib import colormaps

    colors = colormaps[colormap](np.arange(256))[:, :3]
    return np.asarray(np.rint(colors * 255), dtype=np.uint8)

"""A heatmap over its photograph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from vitcam.errors import VitcamError
from vitcam.render.colors import DEFAULT_COLORMAP, color_table
from vitcam.render.heat import checked_heat
from vitcam.render.outline import PLACE, draw_outlines
from vitcam.types import Box

DEFAULT_OPACITY = 0.75

COLD_SATURATION = 0.2
"""How much of the photograph's colour is left where nothing is hot, so that colour means heat."""

DARKEST, LIGHTEST = 20, 189
"""The photograph's black and white become these of 0..255: hot spots, which are lighter, stand out from white
paper and from night sky alike."""


def overlay(
    photo: Image.Image,
    heat: ArrayLike,
    *,
    opacity: float = DEFAULT_OPACITY,
    colormap: str = DEFAULT_COLORMAP,
    boxes: Iterable[Box] = (),
    places: Iterable[Box] = (),
) -> Image.Image:
    """Lay a heatmap over the photograph that it explains.

    The photograph is dimmed and mostly grey where it is cold. The colour's opacity is in proportion to heat,
    so that cold regions stay clear, and ends below one, so that the object remains visible under the hottest
    spot.

    Args:
        photo: any 8-bit mode, any size, upright; left as it is.
        heat: one map (height, width) with values in 0..1, of any size; it is stretched over the photograph.
        opacity: of the colour at the hottest point, 0 to 1.
        colormap: one of ``vitcam.render.colors.COLORMAPS``.
        boxes: rectangles to outline, in pixels of ``heat``.
        places: likewise, in another colour: where what is explained is.

    Returns:
        An RGB picture of the photograph's size.

    Raises:
        ImageError: the map isn't one finite map in 0..1.
        VitcamError: the opacity isn't in 0..1, or there is no such colour map.

    Example:
        >>> overlay(Image.new("RGB", (640, 480)), np.eye(14)).size
        (640, 480)
    """
    values = checked_heat(heat)
    if not 0 <= opacity <= 1:
        raise VitcamError(f"An overlay's opacity is between 0 (the photograph alone) and 1; got {opacity}.")
    # Arithmetic in bytes: a photograph of 50 megapixels would take gigabytes in floats.
    hot = _as_bytes(values, photo.size)
    colors = Image.merge("RGB", [hot.point(channel.tolist()) for channel in color_table(colormap).T])
    mask = hot.point([round(opacity * level) for level in range(256)])
    picture = Image.composite(colors, _dimmed(on_white(photo), hot), mask)
    height, width = values.shape
    scale = (photo.width / width, photo.height / height)
    draw_outlines(picture, boxes, scale)
    draw_outlines(picture, places, scale, color=PLACE)
    return picture


def on_white(photo: Image.Image) -> Image.Image:
    """The photograph as RGB, what is transparent laid on white; itself if it is that already."""
    if not photo.has_transparency_data:
        return photo if photo.mode == "RGB" else photo.convert("RGB")
    see_through = photo.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), see_through).convert("RGB")


def _dimmed(photo: Image.Image, hot: Image.Image) -> Image.Image:
    pale = Image.blend(photo.convert("L").convert("RGB"), photo, COLD_SATURATION)
    steps = [round(DARKEST + (LIGHTEST - DARKEST) * level / 255) for level in range(256)]
    return Image.composite(photo, pale, hot).point(steps * 3)


def _as_bytes(heat: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The map over the whole photograph, 0..255."""
    stretched = Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)
    return Image.fromarray(np.rint(np.asarray(stretched).clip(0, 1) * 255).astype(np.uint8))

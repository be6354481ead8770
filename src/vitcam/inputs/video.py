"""Clips: frames in the order of time."""

from __future__ import annotations

from PIL import Image

from vitcam.inputs.bands import rgb_view
from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.sheets import as_image, enlarged, in_rows, sheet, some_of

FRAMES = 9
"""Frames of a clip that are drawn, at most."""


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """Some of the frames, row by row."""
    return as_image(_laid(rgb_view(values, bands), fill=1.0))


def laid(maps: Array) -> Array:
    """Maps over times, rows and columns, over the frames that are drawn."""
    return _laid(maps, fill=0.0)


def _laid(values: Array, fill: float) -> Array:
    frames = [enlarged(values[..., time, :, :]) for time in some_of(values.shape[-3], FRAMES)]
    return sheet(in_rows(frames), fill)


VIDEO = InputKind(
    name="video",
    axes=("frames", "height", "width"),
    shape="(batch, frames, channels, height, width), or with the channels in front of the frames",
    orders=((0, 2, 1, 3, 4), ()),
    picture=picture,
    laid=laid,
)

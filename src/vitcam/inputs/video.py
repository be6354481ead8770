"""Clips: frames in the order of time."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vitcam.inputs.bands import rgb_view
from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.read_video import ANIMATIONS, VIDEOS
from vitcam.inputs.sheets import as_image, enlarged, in_rows, places, sheet, some_of
from vitcam.types import Box

FRAMES = 36
"""Frames of a clip that are drawn, at most."""


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """The frames, row by row."""
    return strip(rgb_view(values, bands))


def strip(frames: Array) -> Image.Image:
    """Frames that are (red green and blue, times, height, width) from 0 to 1, row by row."""
    return as_image(_laid(frames, fill=1.0))


def laid(maps: Array) -> Array:
    """Maps over times, rows and columns, over the frames that are drawn."""
    return _laid(maps, fill=0.0)


def moments(lengths: Sequence[int]) -> list[Box]:
    """Where the frames of a clip of (times, height, width) are in its picture.

    Example:
        >>> moments((3, 112, 112))[1:]
        [Box(left=114, top=0, right=226, bottom=112), Box(left=0, top=114, right=112, bottom=226)]
    """
    return places(min(lengths[0], FRAMES), lengths[1:])


def _laid(values: Array, fill: float) -> Array:
    frames = [enlarged(values[..., time, :, :]) for time in some_of(values.shape[-3], FRAMES)]
    return sheet(in_rows(frames), fill)


VIDEO = InputKind(
    name="video",
    tab="Video",
    axes=("frames", "height", "width"),
    shape="(batch, frames, channels, height, width), or with the channels in front of the frames",
    orders=((0, 2, 1, 3, 4), ()),
    picture=picture,
    laid=laid,
    suffixes=ANIMATIONS | VIDEOS,
    size=1.5,
    moments=moments,
)

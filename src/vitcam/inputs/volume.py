"""Volumes, such as scans: planes, rows and columns."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vitcam.inputs.bands import rgb_view
from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.read_volume import ARRAYS, SCANS
from vitcam.inputs.sheets import as_image, enlarged, sheet, some_of

SLICES = 4
"""Slices across each axis that are drawn, at most."""


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """Slices in three planes: a row across each axis."""
    return as_image(_laid(rgb_view(values, bands), fill=1.0))


def laid(maps: Array) -> Array:
    """Maps over planes, rows and columns, over the slices that are drawn."""
    return _laid(maps, fill=0.0)


def _laid(values: Array, fill: float) -> Array:
    across = [
        [enlarged(np.moveaxis(values, axis, 0)[place]) for place in some_of(values.shape[axis], SLICES)]
        for axis in (-3, -2, -1)
    ]
    return sheet(across, fill)


VOLUME = InputKind(
    name="volume",
    tab="Volume",
    axes=("planes", "height", "width"),
    shape="(batch, channels, planes, height, width)",
    orders=((),),
    picture=picture,
    laid=laid,
    suffixes=SCANS | ARRAYS,
    size=1.5,
)

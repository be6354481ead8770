"""Pictures, of any number of channels."""

from __future__ import annotations

from PIL import Image

from vitcam.images import IMAGE_SUFFIXES
from vitcam.inputs.bands import rgb_view
from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.read_volume import ARRAYS
from vitcam.inputs.sheets import as_image


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """A picture of a normalised tensor."""
    return as_image(rgb_view(values, bands))


PICTURE = InputKind(
    name="picture",
    tab="Bands",
    axes=("height", "width"),
    shape="(batch, channels, height, width)",
    orders=((),),
    picture=picture,
    laid=lambda maps: maps,
    suffixes=IMAGE_SUFFIXES,
    also=ARRAYS,
)

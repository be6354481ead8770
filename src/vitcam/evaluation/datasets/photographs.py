"""Opening a dataset's photographs."""

from __future__ import annotations

from pathlib import Path

from PIL.Image import Image, Transpose
from PIL.Image import open as open_header

_ORIENTATION = 0x0112


def open_as_stored(path: Path) -> Image:
    """A photograph in RGB without the rotation that its EXIF data asks for.

    The boxes and masks of the public datasets are in the pixels as stored, and so is what others feed to
    their models; ``vitcam.images.open_image``, made for people's own photographs, turns them upright.

    Raises:
        ImageError: the file can't be read.
    """
    from vitcam.images import open_image

    upright = open_image(path)
    with open_header(path) as header:
        orientation = header.getexif().get(_ORIENTATION, 1)
    back = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    return upright.transpose(back[orientation]) if orientation in back else upright

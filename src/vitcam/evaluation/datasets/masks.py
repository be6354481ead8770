"""Reading masks that are stored as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.walking import kind_of_no_file


def read_indices(path: Path) -> UInt8[np.ndarray, "height width"]:
    """The palette indices of a PNG with one class per colour.

    Raises:
        DatasetError: it can't be read, or has no palette (its colours then no longer tell the class).
    """
    image = _load(path)
    if image.mode not in ("P", "L"):
        raise DatasetError(
            f"{path}: expected a PNG with a palette, one class per index, got mode {image.mode}: a program that "
            "saved it anew has dropped the palette; take the original"
        )
    return np.array(image)


def read_grey(path: Path) -> UInt8[np.ndarray, "height width"]:
    """A picture's brightness, 0 to 255, whatever its mode.

    Raises:
        DatasetError: it can't be read.
    """
    return np.array(_load(path).convert("L"))


def _load(path: Path) -> Image.Image:
    try:
        if kind := kind_of_no_file(path):
            raise DatasetError(f"the mask {path} is a {kind}; expected an image file")
        with path.open("rb") as file:
            image = Image.open(file)
            image.load()
            return image
    except DatasetError:
        raise
    except Exception as error:  # on a broken file, Pillow's decoders raise nearly anything
        raise DatasetError(f"the mask {path} can't be read ({error}): it is truncated or damaged") from error

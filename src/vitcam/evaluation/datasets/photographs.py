"""Opening a dataset's photographs, and masks that are stored as pictures."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.Image import Transpose
from PIL.Image import open as open_header

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.sample import Sample, Segmentation
from vitcam.types import Box
from vitcam.walking import kind_of_no_file

_ORIENTATION = 0x0112


@runtime_checkable
class ObjectsRecord(Protocol):
    """What a dataset's annotations say about a photograph of objects; the fields are those of ``Sample``."""

    @property
    def id(self) -> str: ...
    @property
    def labels(self) -> tuple[int, ...]: ...
    @property
    def boxes(self) -> tuple[Box, ...]: ...
    @property
    def box_labels(self) -> tuple[int, ...]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


def photograph_of_objects(record: ObjectsRecord, path: Path, segmentation: Segmentation | None) -> Sample:
    """A sample whose photograph is a file, in the pixels as stored."""
    return Sample(
        id=record.id,
        path=path,
        labels=record.labels,
        boxes=record.boxes,
        box_labels=record.box_labels,
        width=record.width,
        height=record.height,
        segmentation=segmentation,
        pixels=partial(open_as_stored, path),
    )


def open_as_stored(source: Path | Image.Image) -> Image.Image:
    """A photograph in RGB without the rotation that its EXIF data asks for.

    The boxes and masks of the public datasets are in the pixels as stored, and so is what others feed to
    their models; ``vitcam.images.open_image``, made for people's own photographs, turns them upright.

    Args:
        source: a file, or a PIL image, which may still have the EXIF data of its file.

    Raises:
        ImageError: it can't be read.
    """
    from vitcam.images import open_image

    upright = open_image(source)
    with nullcontext(source) if isinstance(source, Image.Image) else open_header(source) as header:
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

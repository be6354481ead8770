"""Opening a dataset's photographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL.Image import Image, Transpose
from PIL.Image import open as open_header

from vitcam.evaluation.datasets.sample import Sample, Segmentation
from vitcam.types import Box

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

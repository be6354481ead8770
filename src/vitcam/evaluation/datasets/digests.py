"""Digests of what a photograph's numbers depend on, so that a change of it is noticed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.sample import Sample, Segmentation

_PART = 2**24


@runtime_checkable
class Digestible(Protocol):
    """A segmentation that knows a quicker way to tell whether it has changed than drawing all its masks."""

    def digest(self) -> str:
        """Changes whenever a mask does.

        Raises:
            DatasetError: the masks can't be read.
        """


def annotation_digest(sample: Sample) -> str:
    """16 hexadecimal digits of a photograph's labels, boxes and masks, and of the size of its file in bytes.

    It doesn't depend on where the dataset lies, and reads no photograph.

    Raises:
        DatasetError: the masks can't be read.
    """
    known = (sample.id, sample.labels, sample.boxes, sample.box_labels, sample.width, sample.height)
    masks = "" if sample.segmentation is None else _of_masks(sample.segmentation, sample.labels)
    return digest_of(repr((known, masks, _size(sample.path))).encode())


def photograph_digest(sample: Sample, image: Image | None = None) -> str:
    """16 hexadecimal digits of a photograph: its file, or its pixels where it has no file of its own.

    Args:
        sample: whose.
        image: the same in RGB, if it has been read already.

    Raises:
        ImageError, DatasetError: it can't be read.
    """
    if sample.path is not None:
        return file_digest(sample.path)
    picture = image or sample.image()
    return digest_of(repr(picture.size).encode(), picture.tobytes())


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content.

    Raises:
        DatasetError: it can't be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    try:
        with path.open("rb") as file:  # a video needn't fit into memory
            while part := file.read(_PART):
                digest.update(part)
        return digest.hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error


def digest_of(*contents: bytes) -> str:
    """16 hexadecimal digits of contents, one after the other."""
    digest = hashlib.blake2b(digest_size=8)
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _of_masks(segmentation: Segmentation, labels: tuple[int, ...]) -> str:
    if isinstance(segmentation, Digestible):
        return segmentation.digest()
    masks = (
        (mask_of((label,)).shape, mask_of((label,)).tobytes())
        for label in labels
        for mask_of in (segmentation.mask, segmentation.void)
    )
    return digest_of(*(part for shape, pixels in masks for part in (repr(shape).encode(), pixels)))


def _size(path: Path | None) -> int | None:
    """None where there is no such file, which becomes an error when the photograph's turn comes."""
    if path is None:
        return None
    try:
        return os.stat(path).st_size  # noqa: PTH116  # a third of Path.stat's time, for each of a million files
    except OSError:
        return None

"""One photograph of a dataset with what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from PIL.Image import Image

from vitcam.errors import DatasetError
from vitcam.types import Box


@runtime_checkable
class Segmentation(Protocol):
    """Where the pixels of a class are, read when asked for. Must be picklable."""

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        """True on the pixels of any of these classes."""

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        """True on the pixels that count neither as one of these classes nor as background."""


@dataclass(frozen=True)
class Sample:
    """A photograph, its classes, and where they are in it.

    Picklable; pixels and masks are read when asked for.

    Attributes:
        id: unique in the dataset and the same on every machine.
        path: the photograph's file; None where its pixels live in a container.
        labels: the classes in it, ascending, as indices into the dataset's ``classes``.
        boxes: where objects of ``labels`` are, in the photograph's own pixels.
        box_labels: the class of each of ``boxes``.
        width: the photograph's width in pixels, where the annotations tell.
        height: the photograph's height in pixels, where the annotations tell.
        segmentation: what answers ``mask`` and ``void``; None where the dataset has no mask of this
            photograph.
        pixels: what reads the photograph, where that isn't just opening ``path``.

    Example:
        >>> from vitcam.evaluation import open_dataset
        >>> sample = open_dataset("voc:VOC2012")[0]
        >>> sample.labels, sample.boxes_of(7), sample.image().size
        ((7,), (Box(left=2.0, top=1.0, right=6.0, bottom=4.0),), (8, 6))
        >>> int(sample.mask().sum()), int(sample.void().sum())  # in pixels
        (12, 0)
    """

    id: str
    path: Path | None
    labels: tuple[int, ...]
    boxes: tuple[Box, ...] = ()
    box_labels: tuple[int, ...] = ()
    width: int | None = None
    height: int | None = None
    segmentation: Segmentation | None = field(default=None, repr=False)
    pixels: Callable[[], Image] | None = field(default=None, repr=False, compare=False)

    def image(self) -> Image:
        """The photograph in RGB.

        Raises:
            ImageError: its file can't be read.
            DatasetError: the container it lives in can't be read.
        """
        if self.pixels is not None:
            return self.pixels()
        if self.path is not None:
            from vitcam.images import open_image

            return open_image(self.path)
        raise DatasetError(
            f"sample {self.id!r} has neither a path nor pixels: its reader must give one of the two"
        )

    def boxes_of(self, label: int) -> tuple[Box, ...]:
        """The boxes of one class."""
        return tuple(box for box, of in zip(self.boxes, self.box_labels, strict=True) if of == label)

    def mask(self, label: int | None = None) -> Bool[np.ndarray, "height width"] | None:
        """Which of the photograph's pixels belong to a class.

        Args:
            label: the class; None for all of ``labels`` together.

        Returns:
            A bool array in the photograph's own pixels, or None if the dataset has no mask of it.

        Raises:
            DatasetError: the mask can't be read, or isn't as large as the photograph.
        """
        if self.segmentation is None:
            return None
        return self._as_large(self.segmentation.mask(self._asked(label)))

    def void(self, label: int | None = None) -> Bool[np.ndarray, "height width"] | None:
        """Which pixels a score must leave out: annotated as neither the class nor background.

        Arguments, result and errors are those of ``mask``.
        """
        if self.segmentation is None:
            return None
        return self._as_large(self.segmentation.void(self._asked(label)))

    def _asked(self, label: int | None) -> tuple[int, ...]:
        return self.labels if label is None else (label,)

    def _as_large(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
        height, width = mask.shape
        if (self.width or width, self.height or height) != (width, height):
            raise DatasetError(
                f"the mask of {self.id!r} is {width}×{height} pixels, but its annotation says that the "
                f"photograph is {self.width}×{self.height}: one of the two files is damaged or from elsewhere"
            )
        return mask

"""Where a class is in what a model sees of a photograph."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vitcam.boxes import boxes_from_mask, fill_boxes
from vitcam.errors import DatasetError
from vitcam.evaluation.datasets import Sample
from vitcam.models import Preprocessing
from vitcam.models.adopted import Adopted
from vitcam.types import Box


class NoTruthError(DatasetError):
    """Nothing says where a class is in what a model sees of a photograph."""


Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class Truth:
    """Where one of the model's classes is, in pixels of the model's input.

    Attributes:
        label: the dataset's class (the first of several that are one class of the model).
        boxes: around its objects; from the mask where the dataset has masks only.
        region: its pixels: the mask, or the boxes where there is none.
        void: pixels that count nowhere.
        has_mask: whether ``region`` is a mask.
    """

    label: int
    boxes: tuple[Box, ...]
    region: Mask = field(repr=False)
    void: Mask = field(repr=False)
    has_mask: bool


def find_truth(
    sample: Sample, labels: Collection[int], preprocessing: Adopted, photograph: tuple[int, int]
) -> Truth:
    """Where classes of a photograph are in what a model sees of it.

    Boxes become x/width·(width of the input), unrounded: the paper cuts the fractions off, as ``fill_boxes``
    does. What the preprocessing crops away is cut off.

    Args:
        sample: its annotations.
        labels: the dataset's classes that are taken together.
        preprocessing: from the photograph to the model's input.
        photograph: its (width, height) in pixels.

    Raises:
        NoTruthError: nothing says where they are, or the model sees none of it, or takes no photographs.
        DatasetError: a mask can't be read.
    """
    if not isinstance(preprocessing, Preprocessing):
        raise NoTruthError(f"{sample.id}: boxes and masks are of photographs, which the model doesn't take")
    seen = seen_region(preprocessing, photograph)
    placed = (
        _placed(box, seen, preprocessing.size) for box in chain.from_iterable(map(sample.boxes_of, labels))
    )
    boxes = tuple(box for box in placed if box is not None)
    mask = _any(_cut(sample.mask(label), seen, preprocessing.size) for label in labels)
    void = _any(_cut(sample.void(label), seen, preprocessing.size) for label in labels)
    if mask is not None and not boxes:
        boxes = tuple(boxes_from_mask(mask))
    if not boxes:
        annotated = sample.boxes or sample.segmentation is not None
        problem = "is outside of what the model sees" if annotated else "has neither a box nor a mask"
        raise NoTruthError(f"{sample.id}: the object {problem}, so that there is nothing to compare with")
    region = _inside(boxes, preprocessing.size) if mask is None else mask
    nowhere = np.zeros(preprocessing.size, dtype=np.bool_)
    return Truth(
        min(labels), boxes, region, nowhere if void is None else void & ~region, has_mask=mask is not None
    )


def seen_region(preprocessing: Preprocessing, photograph: tuple[int, int]) -> Box:
    """The part of a photograph that the model sees, in the photograph's pixels.

    Exactly the whole photograph where nothing is cropped: a rounding error would move a box by a pixel when
    fractions are cut off.
    """
    whole = (preprocessing.resize or preprocessing.size) == preprocessing.size
    if preprocessing.resize_mode == "squash" and whole:
        return Box(0, 0, photograph[0], photograph[1])
    return preprocessing.region(photograph)


def _placed(box: Box, seen: Box, size: tuple[int, int]) -> Box | None:
    height, width = size
    left, right = ((x - seen.left) / seen.width * width for x in (box.left, box.right))
    top, bottom = ((y - seen.top) / seen.height * height for y in (box.top, box.bottom))
    if right < 0 or bottom < 0 or left >= width or top >= height:
        return None
    return Box(max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))


def _cut(mask: Mask | None, seen: Box, size: tuple[int, int]) -> Bool[np.ndarray, "rows columns"] | None:
    if mask is None:
        return None
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    # a transform, since a border may reach beyond the photograph, where nothing is
    extent = (seen.left, seen.top, seen.right, seen.bottom)
    cut = picture.transform(
        (size[1], size[0]), Image.Transform.EXTENT, extent, resample=Image.Resampling.NEAREST
    )
    return np.asarray(cut) > 127


def _any(masks: Iterable[Mask | None]) -> Mask | None:
    present = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(present) if present else None


def _inside(boxes: tuple[Box, ...], size: tuple[int, int]) -> Mask:
    """The pixels whose centres are in a box; at least one for each."""
    rounded = []
    for box in boxes:
        left, top = min(round(box.left), size[1] - 1), min(round(box.top), size[0] - 1)
        rounded.append(
            Box(left, top, max(round(box.right) - 1, left), max(round(box.bottom) - 1, top))
        )  # fill_boxes fills both ends
    return fill_boxes(rounded, size)

"""A PyTorch dataset in memory, as a dataset to evaluate on."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from PIL import Image

from vitcam.errors import DatasetError, ImageError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.digests import digest_of
from vitcam.evaluation.datasets.photographs import open_as_stored
from vitcam.evaluation.datasets.sample import Sample
from vitcam.images import open_image
from vitcam.types import Box

VOID = 255
"""In a mask of integers: neither the object nor background."""

TRIED_TWICE = 3
"""Items that are read twice, to see whether they stay the same."""


@runtime_checkable
class Indexed(Protocol):
    """What a map-style ``torch.utils.data.Dataset`` is: items by their index."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class _Record:
    id: str
    index: int
    label: int
    size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    mask: str | None = None  # its digest


@dataclass(frozen=True)
class _Mask:
    items: Indexed
    record: _Record

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return self._where(1, labels)

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return self._where(VOID, labels)

    def _where(self, value: int, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        mask = _array(self.items[self.record.index][2])
        return (mask == value) if self.record.label in labels else np.zeros(mask.shape, dtype=bool)

    def digest(self) -> str:
        return str(self.record.mask)


@dataclass(frozen=True)
class _Reader:
    """From a record to a sample. Picklable as far as the dataset is."""

    items: Indexed

    def __call__(self, record: _Record) -> Sample:
        return Sample(
            record.id,
            None,
            (record.label,),
            record.boxes,
            (record.label,) * len(record.boxes),
            *record.size,
            segmentation=_Mask(self.items, record) if record.mask else None,
            pixels=_Pixels(self.items, record),
        )


@dataclass(frozen=True)
class _Pixels:
    items: Indexed
    record: _Record

    def __call__(self) -> Image.Image:
        return _image(self.items[self.record.index][0], self.record.index)


def torch_dataset(items: Any, classes: Sequence[str] | None = None, name: str = "torch") -> Dataset:
    """A map-style ``torch.utils.data.Dataset`` as a dataset that :func:`vitcam.evaluation.evaluate` takes.

    Each item is read once, to find its label and its boxes or mask.

    Args:
        items: gives (image, label) or (image, label, boxes or mask). An image is a PIL image, an array
            (height, width, 3), or a tensor (3, height, width): ``uint8``, or floating point from 0 to 1. It must be
            the photograph, not the model's normalised input: that is what the model's own preprocessing is for. A
            label is the index of a class. Boxes are (boxes, 4): left, top, right, bottom in the image's pixels.
            A mask is (height, width): booleans, or integers 0, 1 and 255 (neither object nor background), or a PIL
            image of such.
        classes: the names of the classes; None: the dataset's own ``classes``, as torchvision's have them.
        name: what a run calls the dataset.

    Raises:
        DatasetError: it isn't such a dataset; the message names the item. Or its items aren't the same each time.

    Example:
        >>> from torchvision.datasets import ImageFolder
        >>> dataset = torch_dataset(ImageFolder("things"))
        >>> len(dataset), [each.name for each in dataset.classes]
        (12, ['cat', 'cup', 'face'])
    """
    if not isinstance(items, Indexed):
        raise DatasetError(
            "expected KIND:PATH, a Dataset, or a torch Dataset with __getitem__ and __len__; got "
            f"{type(items).__name__}"
        )
    names = classes if classes is not None else getattr(items, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) for each in names):
        raise DatasetError(
            f"the classes of this {type(items).__name__} have no names: give them, as in torch_dataset(data, "
            "classes=['cat', 'dog']), in the order of its labels"
        )
    records = tuple(_record(items, index, len(names)) for index in range(len(items)))
    for record in records[:TRIED_TWICE]:
        if _record(items, record.index, len(names)) != record or not _same_pixels(items, record.index):
            raise DatasetError(
                f"item {record.index} isn't the same when it is read again: leave out random transforms (crops, "
                "flips, noise), or the numbers would mean nothing"
            )
    root = Path(os.fspath(getattr(items, "root", None) or "."))
    return Dataset(name, root, tuple(map(DatasetClass, names)), records, _Reader(items))


def _record(items: Indexed, index: int, classes: int) -> _Record:
    item = items[index]
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise DatasetError(
            f"item {index} is a {type(item).__name__}; expected (image, label), (image, label, boxes) or "
            "(image, label, mask)"
        )
    size = _image(item[0], index).size
    record = _Record(f"{index:08d}", index, _label(item[1], index, classes), size)
    if len(item) == 2 or item[2] is None:
        return record
    where = _array(item[2])
    if where.shape == size[::-1]:
        if where.dtype != bool and not np.isin(where, (0, 1, VOID)).all():
            raise DatasetError(
                f"item {index}: a mask holds 0, 1 and {VOID}; got {np.unique(where)[:5].tolist()} …"
            )
        return replace(record, mask=digest_of(where.astype(np.uint8).tobytes()))
    if where.ndim != 2 or where.shape[1:] != (4,):
        raise DatasetError(
            f"item {index}: expected boxes (boxes, 4) or a mask ({size[1]}, {size[0]}) as its image, got an array of "
            f"shape {where.shape}"
        )
    return replace(record, boxes=tuple(_box(row, size, index) for row in where.tolist()))


def _label(label: Any, index: int, classes: int) -> int:
    try:
        found = -1 if isinstance(label, bool) else operator.index(label)
    except (TypeError, ValueError, RuntimeError):  # of floats, and of tensors and arrays of several
        found = -1
    if not 0 <= found < classes:
        raise DatasetError(f"item {index}: expected a label from 0 to {classes - 1}, got {label!r:.60}")
    return found


def _box(edges: Sequence[float], size: tuple[int, int], index: int) -> Box:
    left, top, right, bottom = map(float, edges)
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise DatasetError(
            f"item {index}: the box {list(edges)} isn't left, top, right, bottom within {size[0]}×{size[1]} pixels"
        )
    return Box(left, top, right, bottom)


def _image(image: Any, index: int) -> Image.Image:
    if hasattr(image, "detach"):
        image = _array(image)
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    try:
        return open_as_stored(image) if isinstance(image, Image.Image) else open_image(image)
    except ImageError as error:
        raise DatasetError(
            f"item {index}: {error}. It must be the photograph itself: leave out transforms that normalise, since "
            "the model's own preprocessing does it"
        ) from error


def _same_pixels(items: Indexed, index: int) -> bool:
    first, again = (_image(items[index][0], index) for _ in range(2))
    return first.size == again.size and first.tobytes() == again.tobytes()


def _array(values: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)

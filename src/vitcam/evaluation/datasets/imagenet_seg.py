"""ImageNet-Segmentation: photographs and masks in one MATLAB file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import EXPLAINS, Dataset, DatasetClass, Explained
from vitcam.evaluation.datasets.digests import digest_of
from vitcam.evaluation.datasets.reading import require
from vitcam.evaluation.datasets.sample import Sample

_FILE = "gtsegs_ijcv.mat"
_WORDNET_ID = re.compile(r"n\d{8}")

_File = Any  # h5py.File, but h5py is imported only when it is needed

# What h5py raises on a file that is damaged, or of another structure.
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class _Record:
    id: str
    index: int
    wordnet_id: str
    width: int
    height: int


@dataclass(frozen=True)
class _Segmentation:
    path: Path
    index: int
    label: int

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        with _opened(self.path) as file:
            # A photograph's masks are a cell; the first is the one that everybody scores.
            cell = _follow(file, "gt", self.index)
            mask = file[cell[0, 0]][()].T > 0
        return mask if self.label in labels else np.zeros_like(mask)

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.zeros_like(self.mask(labels))

    def digest(self) -> str:
        mask = self.mask((self.label,))
        return digest_of(repr(mask.shape).encode(), mask.tobytes())


def open_imagenet_seg(root: Path, explained: str = "predicted") -> Dataset:
    """Opens ImageNet-Segmentation (Guillaumin et al., IJCV 2014): 4,276 photographs with masks, no boxes.

    The file is MATLAB v7.3, that is HDF5: ``value/img``, ``value/gt`` and ``value/target`` (or ``value/id``)
    are columns of references to a photograph, a cell whose first entry is its mask, and its WordNet id in
    characters; all arrays are transposed. Needs ``h5py``.

    Args:
        root: ``gtsegs_ijcv.mat``, or the folder that holds it.
        explained: "predicted" leaves photographs out that are predicted wrong; "any" explains the predicted class of
            all, and compares it with the mask whether it is right or not, as the authors of the segmentation test do
            (arXiv 2012.09838); "labelled" explains the true class.

    Raises:
        DatasetError: ``explained`` is none of these; the file is missing, can't be read, or has another structure;
            or ``h5py`` isn't installed.

    Example:
        >>> sample = open_imagenet_seg(Path("gtsegs_ijcv.mat"))[0]
        >>> sample.mask().shape, int(sample.mask().sum())  # of the object, in pixels
        ((6, 8), 12)
    """
    choices: tuple[Explained, ...] = get_args(Explained)
    chosen = next((choice for choice in choices if choice == explained), None)
    if chosen is None:
        raise DatasetError(f"explained must be one of {', '.join(choices)}; got {explained!r}")
    path = root / _FILE if root.is_dir() else root
    require("imagenet-seg", root, {path: "photographs and masks"})
    with _opened(path) as file:
        count = len(file["value/img"])
        if len(file["value/gt"]) != count:
            raise DatasetError(
                f"{path} has {count} photographs, but {len(file['value/gt'])} masks: it is damaged"
            )
        records = tuple(_record(file, index) for index in range(count))
    ids = sorted({record.wordnet_id for record in records})
    return Dataset(
        kind="imagenet-seg",
        root=root,
        classes=tuple(DatasetClass(id, id) for id in ids),
        records=records,
        read=partial(_read, path, {id: label for label, id in enumerate(ids)}),
        notes=EXPLAINS[chosen],
        explained=chosen,
    )


def _read(path: Path, labels: dict[str, int], record: _Record) -> Sample:
    label = labels[record.wordnet_id]
    return Sample(
        id=record.id,
        path=None,
        labels=(label,),
        width=record.width,
        height=record.height,
        segmentation=_Segmentation(path, record.index, label),
        pixels=partial(_read_photograph, path, record.index),
    )


def _read_photograph(path: Path, index: int) -> Image.Image:
    with _opened(path) as file:
        return Image.fromarray(np.ascontiguousarray(_follow(file, "img", index)[()].transpose(2, 1, 0)))


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    # Opened anew each time: HDF5 handles survive neither a fork nor pickling, and opening is quick.
    try:
        import h5py
    except ImportError as error:
        raise DatasetError("imagenet-seg needs h5py: pip install 'vitcam[eval]'") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _H5PY_ERRORS as error:
        raise DatasetError(
            f"{path} can't be read as {_FILE} (MATLAB v7.3, that is HDF5, with value/img, value/gt and "
            f"value/target): {error}. It is truncated, damaged or another file"
        ) from error


def _follow(file: _File, column: str, index: int) -> Any:
    return file[file[f"value/{column}"][index, 0]]


def _record(file: _File, index: int) -> _Record:
    shape = _follow(file, "img", index).shape
    if len(shape) != 3 or shape[0] != 3:
        raise DatasetError(
            f"{file.filename}, value/img, entry {index}: expected (3, width, height), got {shape}"
        )
    texts = {
        column: "".join(map(chr, _follow(file, column, index)[()].flatten()))
        for column in ("target", "id")
        if column in file["value"]
    }
    # An id is the photograph's name in ImageNet, such as n01440764_10026.
    wordnet_ids = [match[0] for match in map(_WORDNET_ID.match, texts.values()) if match]
    if not wordnet_ids:
        raise DatasetError(
            f"{file.filename}, entry {index}: expected a WordNet id, such as n01440764, in value/target or "
            f"value/id, got {texts or 'neither of them'}"
        )
    return _Record(
        f"{index:05d}_{texts.get('id', wordnet_ids[0])}", index, wordnet_ids[0], shape[1], shape[2]
    )

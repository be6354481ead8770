"""Caltech-UCSD Birds-200-2011."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.digests import file_digest
from vitcam.evaluation.datasets.photographs import open_as_stored, read_grey
from vitcam.evaluation.datasets.reading import (
    PHOTOGRAPHS,
    TableLine,
    corners,
    find_base,
    list_files,
    read_table,
    require,
    require_listed,
)
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

_SPLITS = {"train": (True,), "test": (False,), "all": (True, False)}


@dataclass(frozen=True)
class _Record:
    id: str
    image: str
    label: int
    box: Box
    mask: str | None


@dataclass(frozen=True)
class _Segmentation:
    path: Path
    label: int

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        votes = read_grey(self.path)
        # Five annotators' masks, averaged: 0, 51, … 255. Three of five make a bird.
        return votes > 127 if self.label in labels else np.zeros(votes.shape, dtype=bool)

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.zeros(read_grey(self.path).shape, dtype=bool)

    def digest(self) -> str:
        return file_digest(self.path)


def open_cub(root: Path, split: str = "test") -> Dataset:
    """Opens CUB-200-2011: one bird of one of 200 species in each photograph, with its box.

    Reads ``classes.txt``, ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt``,
    ``bounding_boxes.txt`` and ``images``; masks where ``segmentations`` is (beside or in the dataset's
    folder), with a pixel being bird if most annotators say so.

    Args:
        root: the folder that holds those files, or the one that holds it as ``CUB_200_2011``.
        split: ``"test"``, ``"train"`` or ``"all"``.

    Raises:
        DatasetError: something is missing or can't be read.

    Example:
        >>> open_cub(Path("CUB_200_2011")).classes[0].name
        'Black footed Albatross'
    """
    if split not in _SPLITS:
        raise DatasetError(f"cub has the splits {', '.join(_SPLITS)}; got {split!r}")
    base = find_base(root, "CUB_200_2011", "images.txt")
    lists = {
        "classes.txt": "the classes' names",
        "images.txt": "the photographs' files",
        "image_class_labels.txt": "their classes",
        "train_test_split.txt": "their split",
        "bounding_boxes.txt": "their boxes",
        "images": "the photographs",
    }
    require("cub", root, {base / name: what for name, what in lists.items()})
    classes = {line["class"]: line["name"] for line in read_table(base / "classes.txt", ("class", "name"))}
    index = {key: label for label, key in enumerate(classes)}
    images = {
        line["photograph"]: line["file"] for line in read_table(base / "images.txt", ("photograph", "file"))
    }
    labels = _by_photograph(base / "image_class_labels.txt", images, ("photograph", "class"))
    splits = _by_photograph(base / "train_test_split.txt", images, ("photograph", "is training"))
    boxes = _by_photograph(base / "bounding_boxes.txt", images, ("photograph", "x", "y", "width", "height"))
    present = set(list_files(base / "images", PHOTOGRAPHS))
    require_listed("cub", base / "images", images.values(), present, source=base / "images.txt")
    segmentations = _find_segmentations(base)
    masks = set(list_files(segmentations, (".png",)))
    records = []
    for key, image in images.items():
        if _is_training(splits[key]) in _SPLITS[split]:
            mask = PurePosixPath(image).with_suffix(".png").as_posix()
            label = _label(labels[key], index, base / "classes.txt")
            records.append(_Record(image, image, label, _box(boxes[key]), mask if mask in masks else None))
    return Dataset(
        kind="cub",
        root=root,
        classes=tuple(DatasetClass(_species(name)) for name in classes.values()),
        records=tuple(records),
        read=partial(_read, base / "images", segmentations),
    )


def _find_segmentations(base: Path) -> Path:
    """Where the masks lie: an archive of their own, unpacked in the dataset's folder or beside it."""
    beside = base.parent / "segmentations"
    return beside if base.name == "CUB_200_2011" and beside.is_dir() else base / "segmentations"


def _by_photograph(path: Path, images: Mapping[str, str], columns: tuple[str, ...]) -> dict[str, TableLine]:
    lines = {line["photograph"]: line for line in read_table(path, columns)}
    absent = [key for key in images if key not in lines]
    if absent:
        raise DatasetError(
            f"{path} has no line for {len(absent)} of the {len(images)} photographs, the first with the id "
            f"{absent[0]}: it is truncated"
        )
    return lines


def _is_training(line: TableLine) -> bool:
    if line["is training"] not in ("0", "1"):
        raise line.error(f"expected 1 (training) or 0 (test), got {line['is training']!r}")
    return line["is training"] == "1"


def _label(line: TableLine, index: Mapping[str, int], classes: Path) -> int:
    if line["class"] not in index:
        raise line.error(f"class {line['class']!r} isn't one of the {len(index)} of {classes}")
    return index[line["class"]]


def _box(line: TableLine) -> Box:
    left, top, width, height = (line.number_in(column) for column in ("x", "y", "width", "height"))
    return corners(left, top, left + width, top + height, line.where)


def _species(name: str) -> str:
    """``001.Black_footed_Albatross`` → ``Black footed Albatross``."""
    return name.partition(".")[2].replace("_", " ") or name


def _read(images: Path, segmentations: Path, record: _Record) -> Sample:
    path = images / record.image
    return Sample(
        id=record.id,
        path=path,
        labels=(record.label,),
        boxes=(record.box,),
        box_labels=(record.label,),
        segmentation=_Segmentation(segmentations / record.mask, record.label) if record.mask else None,
        pixels=partial(open_as_stored, path),
    )

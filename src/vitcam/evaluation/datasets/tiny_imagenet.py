"""Tiny-ImageNet's validation set: 200 classes at 64×64 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.photographs import open_as_stored
from vitcam.evaluation.datasets.reading import (
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

_COLUMNS = ("file", "WordNet id", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class _Record:
    id: str
    label: int
    box: Box


def open_tiny_imagenet(root: Path) -> Dataset:
    """Opens Tiny-ImageNet's validation set.

    Photographs are ``val/images``, labels and boxes ``val/val_annotations.txt``, classes ``wnids.txt`` (put
    in the order of their ids, as class folders would be), names ``words.txt``. The file's boxes are
    zero-based with both ends inclusive (0 to 63), so a ``Box``'s right and bottom are one more.

    Args:
        root: the folder that holds ``val``, or the one that holds it as ``tiny-imagenet-200``.

    Raises:
        DatasetError: something is missing or can't be read.

    Example:
        >>> open_tiny_imagenet(Path("tiny-imagenet-200"))[0].boxes
        (Box(left=0.0, top=32.0, right=45.0, bottom=63.0),)
    """
    base = find_base(root, "tiny-imagenet-200", "val")
    images, annotations = base / "val" / "images", base / "val" / "val_annotations.txt"
    wnids, words = base / "wnids.txt", base / "words.txt"
    require(
        "tiny-imagenet",
        root,
        {
            images: "the validation photographs",
            annotations: "their classes and boxes",
            wnids: "the classes' WordNet ids",
            words: "their names",
        },
    )
    ids = sorted({line["WordNet id"] for line in read_table(wnids, ("WordNet id",))})
    names = {line["WordNet id"]: line["name"] for line in read_table(words, ("WordNet id", "name"), "\t")}
    index = {id: label for label, id in enumerate(ids)}
    records = tuple(_record(line, index, wnids) for line in read_table(annotations, _COLUMNS, "\t"))
    present = set(list_files(images, (".jpeg",)))
    require_listed("tiny-imagenet", images, (record.id for record in records), present, source=annotations)
    return Dataset(
        kind="tiny-imagenet",
        root=root,
        classes=tuple(DatasetClass(names.get(id, id), id) for id in ids),
        records=records,
        read=partial(_read, images),
    )


def _record(line: TableLine, index: Mapping[str, int], wnids: Path) -> _Record:
    id = line["WordNet id"]
    if id not in index:
        raise line.error(f"class {id!r} isn't one of the {len(index)} of {wnids}")
    left, top, right, bottom = (line.number_in(column) for column in _COLUMNS[2:])
    return _Record(line["file"], index[id], corners(left, top, right + 1, bottom + 1, line.where))


def _read(images: Path, record: _Record) -> Sample:
    path = images / record.id
    return Sample(
        id=record.id,
        path=path,
        labels=(record.label,),
        boxes=(record.box,),
        box_labels=(record.label,),
        pixels=partial(open_as_stored, path),
    )

"""A folder of one's own photographs."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.reading import PHOTOGRAPHS, TableLine, corners, list_files, read_csv, require
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

_SIDES = ("left", "top", "right", "bottom")
_WORDNET_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class _Record:
    id: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]
    box_labels: tuple[int, ...]


def open_folder(root: Path, boxes: str = "boxes.csv") -> Dataset:
    """Opens a folder with one folder of photographs per class, and perhaps boxes.

    The boxes are a CSV with a header and the columns ``file,left,top,right,bottom`` (pixels; right and bottom
    = left + width, top + height; ``file`` relative to the folder, with ``/``) and perhaps ``label``. With
    labels, a photograph in a class folder keeps the boxes of its class, and there need be no class folders at
    all: then a photograph has the classes of its boxes. A class whose name is a WordNet id (n01440764) has
        that id.

    Args:
        root: the folder.
        boxes: the CSV, relative to the folder; ``boxes.csv`` need not be there.

    Raises:
        DatasetError: there are no photographs, or the CSV can't be read or names what isn't there.

    Example:
        >>> dataset = open_folder(Path("things"))
        >>> dataset[0].id, dataset[0].boxes
        ('cat/0.jpg', (Box(left=0.0, top=0.0, right=330.0, bottom=300.0),))
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder with a folder of photographs per class, got the file {root}")
    files = list_files(root, PHOTOGRAPHS)
    table = root / boxes
    if boxes != "boxes.csv":
        require("folder", root, {table: "the boxes"})
    lines = _read_boxes(table, set(files)) if table.exists() else {}
    in_class = [file for file in files if "/" in file]
    if in_class:
        names = {file: {PurePosixPath(file).parts[0]} for file in in_class}
    else:
        names = {file: {_label(line) for line in lines[file]} for file in files if file in lines}
    index = {name: label for label, name in enumerate(sorted(set().union(*names.values())))}
    records = tuple(_record(file, names[file], lines.get(file, []), index) for file in names)
    return Dataset(
        kind="folder",
        root=root,
        classes=tuple(DatasetClass(name, name if _WORDNET_ID.fullmatch(name) else None) for name in index),
        records=records,
        read=partial(_read, root),
        notes=_left_out(len(files) - len(records), root, bool(in_class), table),
    )


def _left_out(count: int, root: Path, class_folders: bool, table: Path) -> tuple[str, ...]:
    if not count:
        return ()
    if class_folders:
        return (f"left out, being directly in {root} and in no class folder: {count} of its photographs",)
    return (
        f"left out, being in no class folder and in no line of {table}: {count} of the photographs in {root}",
    )


def _read_boxes(table: Path, files: set[str]) -> dict[str, list[TableLine]]:
    lines = defaultdict(list)
    for line in read_csv(table, ("file", *_SIDES)):
        if line["file"] not in files:
            raise line.error(f"there is no photograph {table.parent / line['file']}")
        lines[line["file"]].append(line)
    return dict(lines)


def _label(line: TableLine) -> str:
    label = line.fields.get("label")
    if not label:
        raise line.error("expected a 'label', since the photographs are in no class folders")
    return label


def _record(file: str, names: set[str], lines: list[TableLine], index: dict[str, int]) -> _Record:
    (only, *_) = names
    labelled = [(line.fields.get("label") or only, line) for line in lines]
    kept = [(index[name], _box(line)) for name, line in labelled if name in names]
    return _Record(
        id=file,
        labels=tuple(sorted(index[name] for name in names)),
        boxes=tuple(box for _, box in kept),
        box_labels=tuple(label for label, _ in kept),
    )


def _box(line: TableLine) -> Box:
    left, top, right, bottom = (line.number_in(side) for side in _SIDES)
    return corners(left, top, right, bottom, line.where)


def _read(root: Path, record: _Record) -> Sample:
    return Sample(record.id, root / record.id, record.labels, record.boxes, record.box_labels)

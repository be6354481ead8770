"""A folder of one's own photographs, or of other files that a model reads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.reading import PHOTOGRAPHS, TableLine, corners, list_files, read_csv, require
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

if TYPE_CHECKING:
    from vitcam.inputs.files import Files

_SIDES = ("left", "top", "right", "bottom")
_WORDNET_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class _Record:
    id: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]
    box_labels: tuple[int, ...]


def open_folder(root: Path, boxes: str = "boxes.csv", files: Files | None = None) -> Dataset:
    """Opens a folder with one folder of photographs per class, and perhaps boxes.

    The boxes are a CSV with a header and the columns ``file,left,top,right,bottom`` (pixels; right and bottom
    = left + width, top + height; ``file`` relative to the folder, with ``/``) and perhaps ``label``. With
    labels, a photograph in a class folder keeps the boxes of its class, and there need be no class folders at
    all: then a photograph has the classes of its boxes. A class whose name is a WordNet id (n01440764) has
        that id.

    Args:
        root: the folder.
        boxes: the CSV, relative to the folder; ``boxes.csv`` need not be there.
        files: what a model reads that takes no photographs (``vitcam.ClipPreprocessing.files``); they have no boxes.
            An evaluation gives it, as its model is.

    Raises:
        DatasetError: there are no such files, or the CSV can't be read or names what isn't there.

    Example:
        >>> dataset = open_folder(Path("things"))
        >>> dataset[0].id, dataset[0].boxes
        ('cat/0.jpg', (Box(left=0.0, top=0.0, right=330.0, bottom=300.0),))
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder with a folder of photographs per class, got the file {root}")
    if files is not None:
        if boxes != "boxes.csv":
            raise DatasetError(
                f"boxes are of photographs, and this folder is read as another input's files: {boxes}"
            )
        return _of_files(root, files)
    photographs = list_files(root, PHOTOGRAPHS)
    table = root / boxes
    if boxes != "boxes.csv":
        require("folder", root, {table: "the boxes"})
    lines = _read_boxes(table, set(photographs)) if table.exists() else {}
    in_class = [file for file in photographs if "/" in file]
    if in_class:
        names = _classes_by_folder(in_class)
    else:
        names = {file: {_label(line) for line in lines[file]} for file in photographs if file in lines}
    notes = _left_out(len(photographs) - len(names), root, bool(in_class), table)
    return _dataset(root, names, lines, notes or _others(root, photographs, PHOTOGRAPHS), "photographs")


def _of_files(root: Path, files: Files) -> Dataset:
    """One folder of such files per class."""
    if not isinstance(files, tuple):
        raise DatasetError(
            "files= of a folder is what a model's preprocessing reads, such as vitcam.ClipPreprocessing.files; got "
            f"{files!r:.40}"
        )
    found = list_files(root, files.suffixes)
    in_class = [file for file in found if "/" in file]
    left_out = len(found) - len(in_class)
    notes = (_in_no_class(root, left_out, files.what),) if left_out else _others(root, found, files.suffixes)
    if (root / "boxes.csv").exists():
        notes += (f"not read, since boxes are of photographs: {root / 'boxes.csv'}",)
    return _dataset(root, _classes_by_folder(in_class), {}, notes, files.what)


def _dataset(
    root: Path,
    names: Mapping[str, set[str]],
    lines: Mapping[str, list[TableLine]],
    notes: tuple[str, ...],
    holds: str,
) -> Dataset:
    """The files whose classes have these names."""
    index = {name: label for label, name in enumerate(sorted(set().union(*names.values())))}
    return Dataset(
        kind="folder",
        root=root,
        classes=tuple(DatasetClass(name, name if _WORDNET_ID.fullmatch(name) else None) for name in index),
        records=tuple(_record(file, names[file], lines.get(file, []), index) for file in names),
        read=partial(_read, root),
        notes=notes,
        holds=holds,
    )


def _classes_by_folder(files: Sequence[str]) -> dict[str, set[str]]:
    return {file: {PurePosixPath(file).parts[0]} for file in files}


def _left_out(count: int, root: Path, class_folders: bool, table: Path) -> tuple[str, ...]:
    if not count:
        return ()
    if class_folders:
        return (_in_no_class(root, count, "photographs"),)
    return (
        f"left out, being in no class folder and in no line of {table}: {count} of the photographs in {root}",
    )


def _in_no_class(root: Path, count: int, what: str) -> str:
    return f"left out, being directly in {root} and in no class folder: {count} of its {what}"


def _others(root: Path, found: Sequence[str], suffixes: Collection[str]) -> tuple[str, ...]:
    """What a folder holds in which nothing was found: perhaps it is for another model."""
    if found:
        return ()
    from vitcam.inputs import KINDS

    known = {suffix for kind in KINDS.values() for suffix in kind.suffixes}
    others = list_files(root, known - set(suffixes))
    if not others:
        return ()
    return (f"it holds files that models of other inputs read: {len(others)}, the first {others[0]}",)


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

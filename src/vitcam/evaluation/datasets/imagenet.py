"""ImageNet's validation set (ILSVRC 2012, CLS-LOC)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.pascal_xml import Annotation, read_annotation
from vitcam.evaluation.datasets.photographs import open_as_stored
from vitcam.evaluation.datasets.reading import (
    TableLine,
    corners,
    find_base,
    list_files,
    parse_number,
    read_csv,
    read_table,
    require,
    require_listed,
)
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

_IMAGES = "Data/CLS-LOC/val"
_ANNOTATIONS = "Annotations/CLS-LOC/val"
_SOLUTION = "LOC_val_solution.csv"
_NAMES = "LOC_synset_mapping.txt"
_WORDNET_ID = re.compile(r"n\d{8}")


_Solution = Mapping[str, tuple[str, tuple[Box, ...]]]
"""For each photograph, its class and its boxes."""


@dataclass(frozen=True)
class _Record:
    id: str
    image: str
    annotation: str | None  # None: boxes are those below
    wordnet_id: str | None  # None: the annotation tells
    boxes: tuple[Box, ...] = ()


def open_imagenet(root: Path) -> Dataset:
    """Opens ImageNet's validation set, as ImageNet or Kaggle ship it.

    - Photographs: ``Data/CLS-LOC/val``, flat or in folders named by WordNet id; ``.JPEG``, ``.jpeg``,
      ``.jpg``.
    - Boxes: ``Annotations/CLS-LOC/val/*.xml``, in such folders or not, or else ``LOC_val_solution.csv``. They
      are the files' own numbers: zero-based, right and bottom as written.
    - Labels: the photograph's folder, or else ``LOC_val_solution.csv``, or else the XML.
    - Classes: in the order of their WordNet ids (the order of every ImageNet classifier); all of
      ``LOC_synset_mapping.txt``, with their names, if it is there, or else those that occur.

    The XML files are read when a sample is asked for, unless nothing else tells which classes there are.

    Args:
        root: the folder that holds ``Data`` and ``Annotations``, or the one that holds it as ``ILSVRC``; the
            two ``LOC_`` files may lie in either.

    Raises:
        DatasetError: something is missing or can't be read.

    Example:
        >>> open_imagenet(Path("ILSVRC"))[0].id
        'ILSVRC2012_val_00000001'
    """
    base = find_base(root, "ILSVRC", _IMAGES)
    require("imagenet", root, {base / _IMAGES: "the validation photographs"})
    images = list_files(base / _IMAGES, (".jpeg", ".jpg"))
    names = _read_names(base)
    solution = _read_solution(base)
    annotations = _list_annotations(base, images) if (base / _ANNOTATIONS).exists() else None
    if annotations is None and solution is None:
        require("imagenet", root, _sources_of_boxes(base))
    records = [_record(base, image, annotations, solution) for image in images]
    if not names:
        records = [_with_label(base, record) for record in records]
    _check_labels(base, records, names)
    ids = sorted(names or {record.wordnet_id for record in records if record.wordnet_id is not None})
    classes = tuple(DatasetClass(names.get(id, id), id) for id in ids)
    return Dataset(
        kind="imagenet",
        root=root,
        classes=classes,
        records=tuple(sorted(records, key=lambda record: record.id)),
        read=partial(_read, base, {id: index for index, id in enumerate(ids)}),
    )


def _sources_of_boxes(base: Path) -> dict[Path, str]:
    return {
        base / _ANNOTATIONS: "the boxes, as XML",
        base / _SOLUTION: "the boxes, as CSV; one of the two is enough. Class folders without any "
        f"boxes can be opened as folder:{base / _IMAGES}",
    }


def _record(
    base: Path, image: str, annotations: Mapping[str, str] | None, solution: _Solution | None
) -> _Record:
    relative = PurePosixPath(image)
    in_folder = len(relative.parts) > 1
    annotation = annotations[relative.stem] if annotations is not None else None
    solved: str | None = None
    boxes: tuple[Box, ...] = ()
    if solution is not None and not (in_folder and annotation):
        if relative.stem not in solution:
            raise DatasetError(f"{_beside(base, _SOLUTION)} has no line for {relative.stem}: it is truncated")
        solved, boxes = solution[relative.stem]
    return _Record(
        id=relative.stem,
        image=image,
        annotation=annotation,
        wordnet_id=relative.parts[0] if in_folder else solved,
        boxes=() if annotation else boxes,
    )


def _with_label(base: Path, record: _Record) -> _Record:
    """The record with its label, from the XML if nothing else has told."""
    if record.wordnet_id is not None or record.annotation is None:
        return record
    path = base / _ANNOTATIONS / record.annotation
    return replace(record, wordnet_id=_first_name(read_annotation(path), path))


def _check_labels(base: Path, records: Sequence[_Record], names: Mapping[str, str]) -> None:
    for record in records:
        label = record.wordnet_id
        if label is not None and not _WORDNET_ID.fullmatch(label):
            raise DatasetError(
                f"{record.image}: expected its class as a WordNet id, such as n01440764, as the name of its "
                f"folder or in its annotation, got {label!r}"
            )
        if names and label is not None and label not in names:
            raise DatasetError(
                f"{record.image} is labelled {label}, which isn't one of the {len(names)} classes of "
                f"{_beside(base, _NAMES)}"
            )


def _read(base: Path, index: Mapping[str, int], record: _Record) -> Sample:
    path = base / _IMAGES / record.image
    if record.annotation is None:
        label = index[str(record.wordnet_id)]
        return Sample(
            id=record.id,
            path=path,
            labels=(label,),
            boxes=record.boxes,
            box_labels=(label,) * len(record.boxes),
            pixels=partial(open_as_stored, path),
        )
    source = base / _ANNOTATIONS / record.annotation
    annotation = read_annotation(source)
    wordnet_id = record.wordnet_id or _first_name(annotation, source)
    if wordnet_id not in index:
        raise DatasetError(
            f"{source}: the object's name {wordnet_id!r} isn't one of the {len(index)} classes of "
            f"{_beside(base, _NAMES)}"
        )
    label = index[wordnet_id]
    boxes = tuple(
        box for name, box in zip(annotation.names, annotation.boxes, strict=True) if name == wordnet_id
    )
    return Sample(
        id=record.id,
        path=path,
        labels=(label,),
        boxes=boxes,
        box_labels=(label,) * len(boxes),
        width=annotation.width,
        height=annotation.height,
        pixels=partial(open_as_stored, path),
    )


def _first_name(annotation: Annotation, path: Path) -> str:
    if not annotation.names:
        raise DatasetError(f"{path} has no object, so that nothing tells the photograph's class")
    return annotation.names[0]


def _beside(base: Path, name: str) -> Path:
    """Where a LOC_ file lies: in the dataset's folder, or beside it as Kaggle has it."""
    outside = base.parent / name
    return outside if base.name == "ILSVRC" and outside.exists() else base / name


def _read_names(base: Path) -> dict[str, str]:
    path = _beside(base, _NAMES)
    if not path.exists():
        return {}
    names = {}
    for line in read_table(path, ("WordNet id", "name")):
        if not _WORDNET_ID.fullmatch(line["WordNet id"]):
            raise line.error(f"expected a WordNet id, such as n01440764, got {line['WordNet id']!r}")
        names[line["WordNet id"]] = line["name"]
    return names


def _list_annotations(base: Path, images: list[str]) -> dict[str, str]:
    annotations = {PurePosixPath(name).stem: name for name in list_files(base / _ANNOTATIONS, (".xml",))}
    stems = [PurePosixPath(image).stem for image in images]
    present = {f"{stem}.xml" for stem in annotations}
    require_listed(
        "imagenet", base / _ANNOTATIONS, (f"{stem}.xml" for stem in stems), present, source=base / _IMAGES
    )
    return annotations


def _read_solution(base: Path) -> _Solution | None:
    path = _beside(base, _SOLUTION)
    if not path.exists():
        return None
    return {
        line["ImageId"]: _parse_solution(line) for line in read_csv(path, ("ImageId", "PredictionString"))
    }


def _parse_solution(line: TableLine) -> tuple[str, tuple[Box, ...]]:
    words = line["PredictionString"].split()
    if not words or len(words) % 5 or not all(_WORDNET_ID.fullmatch(word) for word in words[::5]):
        raise line.error(
            "PredictionString must be groups of a WordNet id and four numbers, such as "
            f"'n03995372 85 1 499 272', got {line['PredictionString']!r}"
        )
    groups = [words[start : start + 5] for start in range(0, len(words), 5)]
    return words[0], tuple(_solved_box(group[1:], line.where) for group in groups if group[0] == words[0])


def _solved_box(words: Sequence[str], where: str) -> Box:
    left, top, right, bottom = (parse_number(word, "PredictionString", where) for word in words)
    return corners(left, top, right, bottom, where)

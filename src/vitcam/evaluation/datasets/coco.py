"""MS COCO's instances: boxes and masks of 80 classes."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.coco_masks import CocoSegmentation, Shape
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass, keep_labelled
from vitcam.evaluation.datasets.photographs import photograph_of_objects
from vitcam.evaluation.datasets.reading import PHOTOGRAPHS, corners, list_files, require, require_listed
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

_JSON_NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


@dataclass(frozen=True)
class _Record:
    id: str
    image: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]
    box_labels: tuple[int, ...]
    width: int
    height: int
    shapes: tuple[Shape, ...] = field(repr=False)


def open_coco(root: Path, split: str = "val2017", multi_label: bool = True) -> Dataset:
    """Opens COCO's instances. Photographs without any object are left out.

    Crowds (``iscrowd``) give no label and no box, and their pixels are void. Masks need ``pycocotools``.

    Args:
        root: the folder that holds ``annotations/instances_{split}.json`` and the photographs in ``{split}``.
        split: ``"val2017"``, ``"train2017"``, ``"val2014"``, …
        multi_label: keep photographs with objects of several classes; without it, only those whose objects
            are all of one class.

    Raises:
        DatasetError: something is missing or can't be read.

    Example:
        >>> dataset = open_coco(Path("coco"))
        >>> dataset[0].id, dataset[0].boxes
        ('000000000139', (Box(left=2, top=1, right=6, bottom=4),))
    """
    path, images = root / "annotations" / f"instances_{split}.json", root / split
    require("coco", root, {path: "boxes and masks", images: "the photographs"})
    content = _load(path)
    categories = sorted(
        (_value(item, "id", where, int), _value(item, "name", where, str))
        for item, where in _items(content, "categories", path)
    )
    labels = {id: label for label, (id, _) in enumerate(categories)}
    shapes = _shapes(content, labels, path)
    every = [
        _record(item, where, shapes.get(_value(item, "id", where, int), ()))
        for item, where in _items(content, "images", path)
    ]
    require_listed(
        "coco", images, (record.image for record in every), set(list_files(images, PHOTOGRAPHS)), path
    )
    records, notes = keep_labelled(every, multi_label)
    return Dataset(
        kind="coco",
        root=root,
        classes=tuple(DatasetClass(name) for _, name in categories),
        records=tuple(sorted(records, key=lambda record: record.id)),
        read=partial(_read, images),
        notes=notes,
    )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}): the file is "
            "truncated or damaged"
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{path} can't be read as JSON ({error}): it is damaged") from error


def _value(item: Any, key: str, where: str, *types: type) -> Any:
    """``item[key]``, which must be of one of these types."""
    if not isinstance(item, dict) or key not in item:
        raise DatasetError(f"{where} has no {key!r}: the file is damaged, or holds no instances")
    value = item[key]
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(_JSON_NAMES[type_] for type_ in types)
        raise DatasetError(f"{where}: {key!r} must be {expected}, got {value!r:.60}")
    return value


def _items(content: Any, key: str, path: Path) -> list[tuple[Any, str]]:
    """The entries of a list of the file, each with what to call it in an error."""
    return [(item, f"{path}, {key}[{i}]") for i, item in enumerate(_value(content, key, str(path), list))]


def _shapes(content: Any, labels: Mapping[int, int], path: Path) -> dict[int, tuple[Shape, ...]]:
    by_image = defaultdict(list)
    for item, where in _items(content, "annotations", path):
        category = _value(item, "category_id", where, int)
        if category not in labels:
            raise DatasetError(
                f"{where}: category_id {category} isn't one of the file's {len(labels)} categories"
            )
        numbers = _value(item, "bbox", where, list)
        if len(numbers) != 4 or not all(isinstance(it, (int, float)) and math.isfinite(it) for it in numbers):
            raise DatasetError(f"{where}: 'bbox' must be [x, y, width, height], got {numbers!r:.60}")
        x, y, width, height = numbers
        shape = Shape(
            label=labels[category],
            box=corners(x, y, x + width, y + height, where),
            outline=_value(item, "segmentation", where, list, dict),
            crowd=_value(item, "iscrowd", where, int) == 1,
            where=where,
        )
        by_image[_value(item, "image_id", where, int)].append(shape)
    return {image: tuple(found) for image, found in by_image.items()}


def _record(item: Any, where: str, shapes: tuple[Shape, ...]) -> _Record:
    objects = [shape for shape in shapes if not shape.crowd]
    return _Record(
        id=f"{_value(item, 'id', where, int):012d}",
        image=_value(item, "file_name", where, str),
        labels=tuple(sorted({shape.label for shape in objects})),
        boxes=tuple(shape.box for shape in objects),
        box_labels=tuple(shape.label for shape in objects),
        width=_value(item, "width", where, int),
        height=_value(item, "height", where, int),
        shapes=shapes,
    )


def _read(images: Path, record: _Record) -> Sample:
    segmentation = CocoSegmentation(record.height, record.width, record.shapes)
    return photograph_of_objects(record, images / record.image, segmentation)

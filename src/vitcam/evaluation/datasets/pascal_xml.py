"""Annotations in Pascal VOC's XML, which ImageNet uses too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.reading import corners, parse_number
from vitcam.types import Box
from vitcam.walking import kind_of_no_file


@dataclass(frozen=True)
class Annotation:
    """An annotation: the photograph's size in pixels, each object's class, and its box as written."""

    width: int
    height: int
    names: tuple[str, ...]
    boxes: tuple[Box, ...]


def read_annotation(path: Path) -> Annotation:
    """Reads one annotation.

    Args:
        path: the XML file.

    Returns:
        Its contents; box coordinates are the file's own numbers (xmin, ymin, xmax, ymax).

    Raises:
        DatasetError: the file is missing, isn't well-formed, declares a document type (annotations have none,
            and entities are refused), or lacks a field; the message names file and field.
    """
    try:
        if kind := kind_of_no_file(path):
            raise DatasetError(f"{path} is a {kind}; expected an XML file")
        tree = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter two: an unknown encoding
        raise DatasetError(f"{path} is not well-formed XML ({error}): it is truncated or damaged") from error
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error
    except _DoctypeError as error:
        raise DatasetError(
            f"{path} declares a document type, which an annotation never does: it is refused"
        ) from error
    objects = tree.findall("object")
    return Annotation(
        width=_size(tree, "width", path),
        height=_size(tree, "height", path),
        names=tuple(_text(item, "name", f"{path}, object {i}") for i, item in enumerate(objects, start=1)),
        boxes=tuple(_box(item, f"{path}, object {i}") for i, item in enumerate(objects, start=1)),
    )


class _DoctypeError(Exception):
    pass


class _NoDoctype(ElementTree.TreeBuilder):
    # Entities can only be declared in a document type: without one there is nothing to expand.
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise _DoctypeError


def _text(element: ElementTree.Element, field: str, where: str) -> str:
    text = (element.findtext(field) or "").strip()
    if not text:
        raise DatasetError(f"{where}: the field <{field.replace('/', '><')}> is missing or empty")
    return text


def _size(tree: ElementTree.Element, side: str, path: Path) -> int:
    field = f"size/{side}"
    value = parse_number(_text(tree, field, str(path)), side, str(path))
    if value < 1:
        raise DatasetError(f"{path}: the photograph's {side} must be at least 1 pixel, got {value:g}")
    return int(value)


def _box(item: ElementTree.Element, where: str) -> Box:
    left, top, right, bottom = (
        parse_number(_text(item, f"bndbox/{side}", where), side, where)
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return corners(left, top, right, bottom, where)

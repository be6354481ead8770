"""Pascal VOC, 2007 to 2012."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass, keep_labelled
from vitcam.evaluation.datasets.digests import file_digest
from vitcam.evaluation.datasets.pascal_xml import read_annotation
from vitcam.evaluation.datasets.photographs import photograph_of_objects, read_indices
from vitcam.evaluation.datasets.reading import list_files, read_table, require, require_listed
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 20 classes, in the order of the masks' palette (whose index 0 is the background)."""

_VOID = 255


@dataclass(frozen=True)
class _Record:
    id: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]
    box_labels: tuple[int, ...]
    width: int
    height: int
    has_mask: bool


@dataclass(frozen=True)
class _Segmentation:
    path: Path

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.isin(read_indices(self.path), [label + 1 for label in labels])

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.isin(read_indices(self.path), [_VOID])

    def digest(self) -> str:
        return file_digest(self.path)


def open_voc(
    root: Path, image_set: str = "Main/val", year: int | None = None, multi_label: bool = False
) -> Dataset:
    """Opens Pascal VOC: boxes for every photograph, masks where ``SegmentationClass`` has one.

    All of a photograph's objects count, those marked difficult or truncated too. VOC's boxes count pixels
    from 1 with both ends inclusive, so a ``Box``'s left and top are one less than what the XML says.

    Args:
        root: the folder that holds ``JPEGImages`` and ``Annotations`` (``VOC2012``), or ``VOCdevkit``, or the
            folder that holds that.
        image_set: which list of ``ImageSets``: ``"Main/val"``, ``"Main/test"``, ``"Segmentation/val"`` (the
            photographs with masks), …
        year: which of several ``VOC{year}`` in ``VOCdevkit``.
        multi_label: keep photographs with objects of several classes too. Without it, as in the paper, only
            those whose objects are all of one class.

    Raises:
        DatasetError: something is missing or can't be read.

    Example:
        >>> dataset = open_voc(Path("VOC2012"), multi_label=True)
        >>> dataset[0].id, dataset[0].labels, dataset[0].mask().shape
        ('2008_000001', (7,), (6, 8))
    """
    base = _find_base(root, year)
    chosen = base / "ImageSets" / f"{image_set}.txt"
    images, annotations, masks = base / "JPEGImages", base / "Annotations", base / "SegmentationClass"
    require(
        "voc",
        root,
        {images: "the photographs", annotations: "their boxes", chosen: "which photographs to use"},
    )
    ids = [line["photograph"] for line in read_table(chosen, ("photograph",))]
    require_listed("voc", images, (f"{id}.jpg" for id in ids), set(list_files(images, (".jpg",))), chosen)
    require_listed(
        "voc", annotations, (f"{id}.xml" for id in ids), set(list_files(annotations, (".xml",))), chosen
    )
    with_mask = set(list_files(masks, (".png",)))
    every = [_record(annotations / f"{id}.xml", f"{id}.png" in with_mask) for id in ids]
    records, notes = keep_labelled(every, multi_label)
    return Dataset(
        kind="voc",
        root=root,
        classes=tuple(DatasetClass(name) for name in VOC_CLASSES),
        records=records,
        read=partial(_read, images, masks),
        notes=notes,
    )


def _find_base(root: Path, year: int | None) -> Path:
    inside = [folder for parent in (root, root / "VOCdevkit") for folder in sorted(parent.glob("VOC[0-9]*"))]
    years = [folder for folder in (root, *inside) if (folder / "JPEGImages").is_dir()]
    if year is not None:
        years = [folder for folder in years if folder.name == f"VOC{year}"]
    if len(years) > 1:
        raise DatasetError(
            f"{root} holds several years of VOC: {', '.join(map(str, years))}. "
            "Give one of them as the path, or the option year"
        )
    return years[0] if years else root


def _record(path: Path, has_mask: bool) -> _Record:
    annotation = read_annotation(path)
    unknown = sorted(set(annotation.names) - set(VOC_CLASSES))
    if unknown:
        raise DatasetError(
            f"{path}: {unknown[0]!r} isn't one of VOC's 20 classes. Photographs with classes of your own can "
            "be opened as folder:PATH, with a CSV of boxes"
        )
    box_labels = tuple(VOC_CLASSES.index(name) for name in annotation.names)
    return _Record(
        id=path.stem,
        labels=tuple(sorted(set(box_labels))),
        boxes=tuple(Box(box.left - 1, box.top - 1, box.right, box.bottom) for box in annotation.boxes),
        box_labels=box_labels,
        width=annotation.width,
        height=annotation.height,
        has_mask=has_mask,
    )


def _read(images: Path, masks: Path, record: _Record) -> Sample:
    segmentation = _Segmentation(masks / f"{record.id}.png") if record.has_mask else None
    return photograph_of_objects(record, images / f"{record.id}.jpg", segmentation)

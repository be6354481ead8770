"""Drawing a composed picture, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vitcam.evaluation.datasets.sample import Sample
from vitcam.images import open_image
from vitcam.types import Box


@dataclass(frozen=True)
class Source:
    """A photograph that objects are cut from: its file, the object's class and where it is; None for all of it."""

    path: Path
    label: int
    box: Box | None


@dataclass(frozen=True)
class SyntheticRecord:
    """A picture to be drawn.

    Attributes:
        id: its number.
        labels: its classes.
        seed: of its background.
        sources: which of the sources are in it.
        cuts: what is cut from each of these photographs.
        places: where that goes in the picture.
        mirrored: whether it is mirrored on the way.
    """

    id: str
    labels: tuple[int, ...]
    seed: tuple[int, ...]
    sources: tuple[int, ...]
    cuts: tuple[Box, ...]
    places: tuple[Box, ...]
    mirrored: tuple[bool, ...]


@dataclass(frozen=True)
class Ellipses:
    """The masks of pasted objects: each is an ellipse that fills its place."""

    side: int
    places: tuple[Box, ...]
    labels: tuple[int, ...]

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        inside = np.zeros((self.side, self.side), dtype=np.bool_)
        for place, label in zip(self.places, self.labels, strict=True):
            if label in labels:
                left, top, right, bottom = map(int, place)
                inside[top:bottom, left:right] |= ellipse(bottom - top, right - left)
        return inside

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.zeros((self.side, self.side), dtype=np.bool_)


def read_composed(sources: tuple[Source, ...], pasted: bool, side: int, record: SyntheticRecord) -> Sample:
    """A picture as a sample.

    Args:
        sources: that records are of.
        pasted: whether objects are cut out as ellipses.
        side: of the picture, in pixels.
        record: what is in it.
    """
    labels = tuple(sources[number].label for number in record.sources)
    boxes = record.places if pasted else (_seen(sources[record.sources[0]], record, side),)
    return Sample(
        id=record.id,
        path=None,
        labels=record.labels,
        boxes=boxes,
        box_labels=labels,
        width=side,
        height=side,
        segmentation=Ellipses(side, record.places, labels) if pasted else None,
        pixels=partial(_draw, sources, pasted, side, record),
    )


def _seen(source: Source, record: SyntheticRecord, side: int) -> Box:
    """The object's box in the crop of its photograph."""
    (cut,), box = record.cuts, whole_object(source)
    left, right = (float(np.clip((x - cut.left) / cut.width, 0, 1)) * side for x in (box.left, box.right))
    top, bottom = (float(np.clip((y - cut.top) / cut.height, 0, 1)) * side for y in (box.top, box.bottom))
    return (
        Box(side - right, top, side - left, bottom) if record.mirrored[0] else Box(left, top, right, bottom)
    )


def whole_object(source: Source) -> Box:
    """What is cut out of a photograph: its object's box, or all of it."""
    if source.box is not None:
        return source.box
    width, height = open_image(source.path).size
    return Box(0, 0, width, height)


def _draw(sources: tuple[Source, ...], pasted: bool, side: int, record: SyntheticRecord) -> Image.Image:
    random = np.random.default_rng([*record.seed, 1])
    colours = Image.fromarray(random.integers(60, 196, (4, 4, 3), dtype=np.uint8))
    picture = colours.resize((side, side), Image.Resampling.BICUBIC)
    for number, cut, place, mirrored in zip(
        record.sources, record.cuts, record.places, record.mirrored, strict=True
    ):
        left, top, right, bottom = map(int, place)
        size = (right - left, bottom - top)
        object_ = open_image(sources[number].path).resize(size, Image.Resampling.BICUBIC, box=tuple(cut))
        if mirrored:
            object_ = object_.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        shape = Image.fromarray(ellipse(size[1], size[0]).astype(np.uint8) * 255) if pasted else None
        picture.paste(object_, (left, top), shape)
    return picture


def ellipse(height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres are inside the ellipse that fills a rectangle.

    Example:
        >>> ellipse(3, 4).astype(int).tolist()
        [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    """
    rows = (np.arange(height) + 0.5) / height * 2 - 1
    columns = (np.arange(width) + 0.5) / width * 2 - 1
    return np.asarray(rows[:, None] ** 2 + columns[None] ** 2 <= 1)

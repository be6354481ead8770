"""A mosaic: which photographs are where, its picture, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from PIL import Image

from vitcam.evaluation.datasets.dataset import Dataset
from vitcam.evaluation.datasets.sample import Sample
from vitcam.types import Box

View = Callable[[Image.Image], Image.Image]
"""From a photograph to a tile; all tiles are equally large."""


class Tile(NamedTuple):
    """A photograph that may become a tile: its place in its dataset, its id there and its one class."""

    number: int
    id: str
    label: int


@dataclass(frozen=True)
class MosaicRecord:
    """A mosaic: the classes that are explained, and its tiles row by row."""

    id: str
    labels: tuple[int, ...]
    tiles: tuple[Tile, ...]


def read_mosaic(base: Dataset, grid: int, view: View, record: MosaicRecord) -> Sample:
    """A mosaic as a sample: the tiles of each explained class are its boxes."""
    pixels = partial(_paste, base, grid, view, record)
    width, height = _tile_size(view)
    boxes, labels = [], []
    for place, tile in enumerate(record.tiles):
        if tile.label in record.labels:
            row, column = divmod(place, grid)
            boxes.append(Box(column * width, row * height, (column + 1) * width, (row + 1) * height))
            labels.append(tile.label)
    size = (grid * width, grid * height)
    return Sample(record.id, None, record.labels, tuple(boxes), tuple(labels), *size, pixels=pixels)


def _tile_size(view: View) -> tuple[int, int]:
    return view(Image.new("RGB", (8, 8))).size


def _paste(base: Dataset, grid: int, view: View, record: MosaicRecord) -> Image.Image:
    tiles = [view(base[tile.number].image()) for tile in record.tiles]
    width, height = tiles[0].size
    picture = Image.new("RGB", (grid * width, grid * height))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, grid)
        picture.paste(tile, (column * width, row * height))
    return picture

"""Several views of an input side by side, and maps laid out in the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vitcam.inputs.kind import Array
from vitcam.types import Box

GAP = 2
"""Pixels between views."""

LEAST = 112
"""The shortest side of a view: smaller ones are enlarged by a whole number."""


def some_of(length: int, most: int) -> list[int]:
    """The middles of equal parts of an axis; all places of it, where they are few.

    Example:
        >>> some_of(16, 4), some_of(3, 4)
        ([2, 6, 10, 14], [0, 1, 2])
    """
    count = min(length, most)
    return [int((2 * n + 1) * length / (2 * count)) for n in range(count)]


def sheet(rows: Sequence[Sequence[Array]], fill: float) -> Array:
    """Views in rows, each (…, height, width); between them, and where they are smaller, ``fill``.

    Example:
        >>> sheet([[np.ones((1, 2)), np.ones((1, 2))]], fill=0.0)
        array([[1., 1., 0., 0., 1., 1.]])
    """
    heights = [max(view.shape[-2] for view in row) for row in rows]
    widths = [max(row[n].shape[-1] for row in rows if n < len(row)) for n in range(max(map(len, rows)))]
    lengths = [sum(sides) + GAP * (len(sides) - 1) for sides in (heights, widths)]
    whole = np.full((*rows[0][0].shape[:-2], *lengths), fill, dtype=rows[0][0].dtype)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for view, width in zip(row, widths, strict=False):
            whole[..., top : top + view.shape[-2], left : left + view.shape[-1]] = view
            left += width + GAP
        top += height + GAP
    return whole


def in_rows(views: Sequence[Array]) -> list[Sequence[Array]]:
    """Views in about as many rows as columns, to be read like a text."""
    columns = math.ceil(math.sqrt(len(views)))
    return [views[start : start + columns] for start in range(0, len(views), columns)]


def places(count: int, size: Sequence[int]) -> list[Box]:
    """Where views of (height, width), enlarged and in rows, are on their sheet."""
    times = _times(size)
    height, width = (times * side for side in size)
    columns = math.ceil(math.sqrt(count))
    corners = [((n // columns) * (height + GAP), (n % columns) * (width + GAP)) for n in range(count)]
    return [Box(left, top, left + width, top + height) for top, left in corners]


def enlarged(view: Array) -> Array:
    """A view each of whose pixels is repeated until no side is shorter than ``LEAST``."""
    times = _times(view.shape[-2:])
    return view.repeat(times, axis=-2).repeat(times, axis=-1)


def _times(size: Sequence[int]) -> int:
    return max(1, math.ceil(LEAST / min(size)))


def as_image(view: Array) -> Image.Image:
    """A picture of (3, height, width) from 0 to 1."""
    return Image.fromarray(np.rint(np.moveaxis(view, 0, -1) * 255).astype(np.uint8))

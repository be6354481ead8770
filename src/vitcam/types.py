"""The small value types that every room shares. They need neither torch nor numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class PatchGrid:
    """How a sequence of tokens lies over an image, a clip or a volume.

    Token ``prefix + row * width + column`` is the patch at (row, column), unless ``order`` says otherwise; tokens
    of no patch (class, distillation, registers) belong to no place in the image. Where there are more axes than two,
    those in ``outer`` stand in front, and the last axis goes fastest, as in an array of the grid's ``shape``.

    Attributes:
        height: rows of patches.
        width: columns of patches.
        prefix: tokens in front of all patches.
        order: the token of each patch, row by row; () where they follow one another, as above.
        region: (top, left, bottom, right), the part of the image that the patches cover, in pixels, where that
            isn't the whole of it: a model that crops its image, or whose patches leave a border out. It may reach
            beyond the image, which a model has padded then. With more axes: where the patches begin along each of
            them, and then where they end.
        outer: the numbers of patches along the axes in front of rows and columns: (times,) of a clip, (planes,) of
            a volume; () of an image.

    Example:
        >>> PatchGrid(height=14, width=14, prefix=1).tokens
        196
        >>> PatchGrid(1, 2, prefix=0, order=(1, 0)).patches
        [1, 0]
        >>> PatchGrid(14, 14, prefix=0, outer=(8,)).shape
        (8, 14, 14)
    """

    height: int
    width: int
    prefix: int
    order: tuple[int, ...] = ()
    region: tuple[float, ...] | None = None
    outer: tuple[int, ...] = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of patches along each axis."""
        return (*self.outer, self.height, self.width)

    @property
    def tokens(self) -> int:
        """The number of patch tokens."""
        return math.prod(self.shape)

    @property
    def patches(self) -> slice | list[int]:
        """Where the patch tokens stand in the sequence, row by row: an index for tensors."""
        return list(self.order) if self.order else slice(self.prefix, self.prefix + self.tokens)

    def __str__(self) -> str:
        placed = " in an order of their own" if self.order else ""
        return f"{sides(self.shape)} patches{placed} after {self.prefix} prefix tokens"


def sides(lengths: Iterable[int]) -> str:
    """The lengths of something's sides in words.

    Example:
        >>> sides((8, 14, 14))
        '8×14×14'
    """
    return "×".join(map(str, lengths))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: ``left``/``top`` inclusive, ``right``/``bottom`` = left + width, top + height.

    Example:
        >>> Box(10, 20, 40, 60).width
        30
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def __iter__(self):  # type: ignore[no-untyped-def]  # lets a Box be unpacked like a tuple
        return iter((self.left, self.top, self.right, self.bottom))


class Answered(NamedTuple):
    """What was explained, where that isn't the logit of a class: an object that was found, a similarity, a value.

    Attributes:
        label: what it is called.
        note: how much of it there is, in words, such as "93 %".
        value: the score.
        class_index: of the class that it is of; -1 if it is of none.
        box: (left, top, right, bottom), where in the image it is, in pixels of what the model saw; None if nowhere.

    Example:
        >>> Answered("cat, query 3", "93 %", 4.2, 1, (10.0, 20.0, 40.0, 60.0)).label
        'cat, query 3'
    """

    label: str
    note: str
    value: float
    class_index: int = -1
    box: tuple[float, float, float, float] | None = None


class TextToken(NamedTuple):
    """A token of a text that a model was given with an image, and its weight in the answer.

    Attributes:
        token: as it is written; its id, where what it is called isn't known.
        weight: of the same kind as the values of the image's map.
        id: in the model's vocabulary.

    Example:
        >>> max([TextToken("a", 0.1, 320), TextToken("cat", 0.7, 2368)], key=lambda each: each.weight).token
        'cat'
    """

    token: str
    weight: float
    id: int

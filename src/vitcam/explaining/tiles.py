"""Where the tiles of a large picture lie, and what a model is given of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import ImageError
from vitcam.images import MAX_PIXELS

Tiles = tuple[int | tuple[int, int], int] | None
Place = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the picture."""

MAX_TILED_PIXELS = 2 * MAX_PIXELS
"""Of a picture that is cut into tiles: 13,377 × 13,377. Pillow itself opens no file with more."""

MAX_TILES = 16_384
"""Of one picture. A slip in the overlap would make millions."""

EXPECTED = "tiles=(size, overlap), such as (224, 32), in pixels of the picture"


@dataclass(frozen=True)
class TiledPicture:
    """The tiles of one picture. None is cut before its turn comes.

    Attributes:
        places: of the tiles, row by row.
        cut: what the model is given of a place.
    """

    places: tuple[Place, ...]
    cut: Callable[[Place], Float[Tensor, "channels height width"]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, some: slice) -> Float[Tensor, "tiles channels height width"]:
        return torch.stack([self.cut(place) for place in self.places[some]])


def sides_of(tiles: Any) -> tuple[int, int, int]:
    """(height, width, overlap) of what a user calls tiles.

    Raises:
        ImageError: it isn't a size and an overlap that is smaller.

    Example:
        >>> sides_of((224, 32)), sides_of(((192, 256), 32))
        ((224, 224, 32), (192, 256, 32))
    """
    given = tuple(tiles) if isinstance(tiles, Sequence) and not isinstance(tiles, str) else ()
    size: Any = given[0] if len(given) == 2 else None
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size, size)
    lengths = [each for each in (*sides, *given[1:]) if isinstance(each, int) and not isinstance(each, bool)]
    if len(sides) != 2 or len(lengths) != 3 or len(given) != 2:
        raise ImageError(
            f"expected {EXPECTED}, with whole numbers, and (height, width) as the size of tiles that aren't square; "
            f"got {tiles!r:.80}"
        )
    height, width, overlap = lengths
    if min(height, width) < 1 or not 0 <= overlap < min(height, width):
        raise ImageError(
            f"tiles of {height}×{width} pixels can't overlap by {overlap}: the overlap must be 0 or more, and "
            "smaller than a tile"
        )
    return height, width, overlap


def tile_places(picture: tuple[int, int], tiles: Any) -> tuple[Place, ...]:
    """Where tiles lie that cover a picture: each beside the one before it, the last shifted inwards to the edge.

    Nothing is padded: each tile shows the picture alone.

    Args:
        picture: its (height, width).
        tiles: as for :func:`vitcam.explain`.

    Raises:
        ImageError: the picture is smaller than a tile, or there would be too many of them.

    Example:
        >>> tile_places((4, 9), (4, 1))
        ((0, 0, 4, 4), (3, 0, 7, 4), (5, 0, 9, 4))
    """
    height, width, overlap = sides_of(tiles)
    if picture[0] < height or picture[1] < width:
        raise ImageError(
            f"the picture is {picture[0]} high and {picture[1]} wide, smaller than a tile of {height}×{width}: "
            "leave tiles out, or make them smaller"
        )
    tops, lefts = (
        _starts(length, side, overlap) for length, side in zip(picture, (height, width), strict=True)
    )
    if prod(map(len, (tops, lefts))) > MAX_TILES:
        raise ImageError(
            f"a picture {picture[0]} high and {picture[1]} wide would have {len(tops)}×{len(lefts)} tiles, more "
            f"than {MAX_TILES:,}: make them larger, or their overlap smaller"
        )
    return tuple((left, top, left + width, top + height) for top in tops for left in lefts)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    last = length - side
    return [*range(0, last, side - overlap), last]

"""The patch grids that a number of tokens may form, tried in turn until one of them is confirmed."""

from __future__ import annotations

import math
from collections.abc import Sequence


def grids_of_convolutions(tokens: int, convolutions: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (rows, columns) of what convolutions gave, the last first, that fit a number of tokens.

    The patch embedding is often the last convolution before the first attention whose output has nearly as many
    places as there are tokens; the tokens left over belong to no place.

    Example:
        >>> grids_of_convolutions(197, [(112, 112), (14, 14)])
        [(14, 14)]
    """
    fitting = [size for size in convolutions if tokens / 2 < math.prod(size) <= tokens]
    return list(dict.fromkeys(reversed(fitting)))


def even_grids(tokens: int, image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """The (rows, columns) of square patches with at most 16 tokens left over, the fewest first.

    Example:
        >>> even_grids(37, (96, 96))
        [(6, 6), (5, 5)]
    """
    found = []
    for patches in range(tokens, max(0, tokens - 17), -1):
        height = round(math.sqrt(patches * image_size[0] / image_size[1]))
        if height and patches % height == 0 and height * image_size[1] == (patches // height) * image_size[0]:
            found.append((height, patches // height))
    return found

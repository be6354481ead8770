"""Finds how the tokens lie over the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitcam.errors import ModelError
from vitcam.types import PatchGrid


def find_grid(
    tokens: int,
    convolutions: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
    *,
    grid: tuple[int, int] | None = None,
    prefix: int | None = None,
) -> PatchGrid:
    """The patch grid of a sequence of tokens.

    The patch embedding is the last convolution before the first attention whose output has nearly as many
    places as there are tokens; the tokens left over stand in front of the patches. Without a convolution
    (a linear patch embedding) the grid is the one with the image's proportions.

    Args:
        tokens: the number of key tokens of the attention layers.
        convolutions: the (height, width) of the convolutions' outputs, in the order of the calls.
        image_size: (height, width) of the image, in pixels.
        grid, prefix: given by the user instead of being found.

    Raises:
        ModelError: what was found, or given, doesn't fit the number of tokens.

    Example:
        >>> find_grid(197, [(14, 14)], (224, 224))
        PatchGrid(height=14, width=14, prefix=1)
    """
    if grid is not None:
        height, width = grid
    else:
        fitting = [size for size in convolutions if tokens / 2 < math.prod(size) <= tokens]
        if fitting:
            height, width = fitting[-1]
        else:
            height, width = (
                (0, 0) if convolutions else _grid_of_proportions(tokens - (prefix or 0), image_size)
            )
            if height * width == 0:
                raise ModelError(
                    f"the attention layers see {tokens} tokens, but no patch grid of that size was found "
                    f"(convolution outputs: {_list(convolutions)}; image: {image_size[0]}×{image_size[1]}). "
                    "Pass grid=(rows, columns), and prefix=N for the tokens in front of the patches."
                )
    if prefix is None:
        prefix = tokens - height * width
    if prefix < 0 or height < 1 or width < 1 or prefix + height * width > tokens:
        raise ModelError(
            f"a grid of {height}×{width} patches after {prefix} prefix tokens doesn't fit the {tokens} tokens "
            f"that the attention layers see (convolution outputs: {_list(convolutions)}). "
            "Pass grid=(rows, columns) and prefix=N so that prefix + rows·columns ≤ tokens."
        )
    return PatchGrid(height, width, prefix)


def _grid_of_proportions(tokens: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """The grid of the image's proportions with the fewest tokens left over, of at most 16; else (0, 0)."""
    for patches in range(tokens, max(0, tokens - 17), -1):
        height = round(math.sqrt(patches * image_size[0] / image_size[1]))
        if height and patches % height == 0 and height * image_size[1] == (patches // height) * image_size[0]:
            return height, patches // height
    return 0, 0


def _list(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{height}×{width}" for height, width in sizes) or "none"

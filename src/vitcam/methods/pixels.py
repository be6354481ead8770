"""Pixels, the patches that they are in, and the cells that patches are joined to."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.recording import cells
from vitcam.types import PatchGrid


def sums_over_patches(
    pixels: Float[Tensor, batch * space], grid: PatchGrid
) -> Float[Tensor, "batch patches"]:
    """The sum over the pixels of each patch."""
    if grid.region is None:
        return means_over_patches(pixels, grid) * (pixels[0].numel() / grid.tokens)
    places = cells(grid, tuple(pixels.shape[1:]))
    return torch.stack([pixels[(slice(None),) + place].flatten(1).sum(dim=1) for place in places], dim=1)  # noqa: RUF005


def means_over_patches(
    pixels: Float[Tensor, batch * space], grid: PatchGrid
) -> Float[Tensor, "batch patches"]:
    """The mean over the pixels of each patch; 0 where it has none, outside of the image.

    The patches are equal parts of what they cover: of the whole image, or of the grid's region.

    Example:
        >>> means_over_patches(torch.arange(8.0).reshape(1, 2, 4), PatchGrid(1, 2, prefix=1))
        tensor([[2.5000, 4.5000]])
        >>> means_over_patches(torch.arange(8.0).reshape(1, 2, 4), PatchGrid(1, 2, 1, region=(0, 1, 2, 3)))
        tensor([[3., 4.]])
    """
    if grid.region is None:
        pool: Any = F.adaptive_avg_pool2d if len(grid.shape) == 2 else F.adaptive_avg_pool3d
        pooled: Tensor = pool(pixels[:, None], grid.shape).flatten(1)
        return pooled
    sizes = sums_over_patches(torch.ones_like(pixels[:1]), grid)
    return sums_over_patches(pixels, grid) / sizes.clamp_min(1)


def patch_numbers(grid: PatchGrid, size: tuple[int, ...]) -> Int[Tensor, "1 1 *space"]:
    """The number of the patch that each pixel is in; pixels of no patch have the one after the last."""
    if grid.region is None:
        numbers = torch.arange(grid.tokens, dtype=torch.float32).reshape(1, 1, *grid.shape)
        return F.interpolate(numbers, size=size, mode="nearest").long()
    laid = torch.full((1, 1, *size), grid.tokens)
    for number, place in enumerate(cells(grid, size)):
        laid[0, 0][place] = number
    return laid


def cells_of(grid: PatchGrid, cells: int) -> Int[Tensor, " patches"]:
    """The number of the cell that each patch is in, of at most ``cells`` along each axis.

    Example:
        >>> cells_of(PatchGrid(2, 4, prefix=1), 2).tolist()
        [0, 0, 1, 1, 2, 2, 3, 3]
    """
    numbers = torch.zeros(1, dtype=torch.long)
    for length in grid.shape:
        along = torch.arange(length) * min(cells, length) // length
        numbers = (numbers[:, None] * min(cells, length) + along).flatten()
    return numbers

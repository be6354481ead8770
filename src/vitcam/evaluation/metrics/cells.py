"""Perturbations of whole patches: which pixels are a patch's, and what a heatmap says of it."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import ImageError
from vitcam.methods.pixels import patch_numbers
from vitcam.types import PatchGrid

Grid = tuple[int, ...]


def cells_of_pixels(grid: Grid, size: tuple[int, ...]) -> Int[Tensor, " pixels"]:
    """The cell, of a grid that is stretched over an image, that each of its pixels is in.

    Example:
        >>> cells_of_pixels((1, 2), (2, 4)).tolist()
        [0, 0, 1, 1, 0, 0, 1, 1]
    """
    *outer, rows, columns = grid
    return patch_numbers(PatchGrid(rows, columns, prefix=0, outer=tuple(outer)), size).flatten()


def heat_of_cells(heatmaps: Float[Tensor, "heatmaps ..."], grid: Grid) -> Float[Tensor, "heatmaps cells"]:
    """The mean of a heatmap over each cell, in float64 on the CPU: its own value, if it is on this grid.

    Raises:
        ImageError: a heatmap isn't finite.
    """
    if not heatmaps.isfinite().all():
        raise ImageError("expected heatmaps of finite values, got NaN or infinity in one")
    pool: Any = F.adaptive_avg_pool2d if len(grid) == 2 else F.adaptive_avg_pool3d
    means: Tensor = pool(heatmaps.cpu().double().unsqueeze(1), grid)
    return means.flatten(1)


def in_cells(
    cell_of_pixel: Int[Tensor, " pixels"], chosen: Bool[Tensor, " cells"]
) -> Bool[Tensor, " pixels"]:
    """The pixels of the chosen cells."""
    return chosen[cell_of_pixel]

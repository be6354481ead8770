"""One map of a picture from the maps of its tiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import ImageError
from vitcam.explaining.tiles import Place

Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Axis:
    """The cells of the map of a picture along one of its sides: as long as patches, beginning with the first.

    Attributes:
        weights: by the beginning of a tile, the number of the first cell that its patches reach, and how many pixels
            of each patch (columns) lie in that cell and those behind it (rows).
        start: where the cells begin, in pixels.
        length: of a cell, likewise.
        count: of cells.
    """

    weights: dict[int, tuple[int, Float[Tensor, "cells patches"]]]
    start: float
    length: float
    count: int


def stitched(
    maps: Float[Tensor, "tiles targets height width"],
    places: Sequence[Place],
    covered: Region,
    errors: bool = False,
) -> tuple[Float[Tensor, "targets rows columns"], Region]:
    """The map of a picture, on cells as large as patches: each the mean over the pixels that patches cover in it.

    ::

        M_c = Σ_k Σ_p |c ∩ p| · m_kp / Σ_k Σ_p |c ∩ p|

    with m_kp the value of patch p of tile k, and |c ∩ p| the number of pixels that it shares with cell c. Where tiles
    overlap, a cell is the mean of theirs; where their patches lie on the same cells, exactly so. Values are taken as
    the method gives them: nothing is scaled tile by tile.

    Args:
        maps: of each tile, on its patch grid.
        places: of the tiles.
        covered: (top, left, bottom, right), what the patches of a tile cover, in pixels from the tile's corner. What
            reaches beyond the tile counts for nothing.
        errors: whether the values are standard errors of independent draws, of whose mean the error is wanted.

    Returns:
        The map, and the part of the picture that its cells cover, (top, left, bottom, right) in pixels: they may
        reach beyond it at the bottom and at the right.

    Raises:
        ImageError: tiles overlap by less than their patches leave out at the edges.

    Example:
        >>> maps = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 9.0]]]])
        >>> stitched(maps, [(0, 0, 4, 2), (2, 0, 6, 2)], (0, 0, 2, 4))
        (tensor([[[1., 4., 9.]]]), (0.0, 0.0, 2.0, 6.0))
    """
    top, left, bottom, right = covered
    high, wide = places[0][3] - places[0][1], places[0][2] - places[0][0]
    rows = _axis((place[1] for place in places), (top, bottom), high, maps.shape[2])
    columns = _axis((place[0] for place in places), (left, right), wide, maps.shape[3])
    sums = torch.zeros(maps.shape[1], rows.count, columns.count, dtype=torch.float64)
    pixels = torch.zeros(rows.count, columns.count, dtype=torch.float64)
    for values, place in zip(maps.detach().cpu().double(), places, strict=True):
        (row, down), (column, across) = rows.weights[place[1]], columns.weights[place[0]]
        part = slice(row, row + len(down)), slice(column, column + len(across))
        everywhere = slice(None), *part
        pixels[part] += down.sum(dim=1)[:, None] * across.sum(dim=1)
        if errors:
            sums[everywhere] += down.square() @ values.square() @ across.square().T
        else:
            sums[everywhere] += down @ values @ across.T
    if not pixels.all():
        raise ImageError(
            f"patches cover the part {covered} (top, left, bottom, right) of a tile of {high}×{wide} pixels, so that "
            "nothing is known of places between tiles: let them overlap by more"
        )
    region = (
        rows.start,
        columns.start,
        rows.start + rows.count * rows.length,
        columns.start + columns.count * columns.length,
    )
    means = sums.sqrt() / pixels if errors else sums / pixels
    return means.to(maps.device, torch.float32), region


def _axis(starts: Iterable[int], covered: tuple[float, float], side: int, patches: int) -> _Axis:
    begin, end = covered
    length = (end - begin) / patches
    ordered = sorted(set(starts))
    edges = torch.arange(patches + 1, dtype=torch.float64) * length + begin
    # patches of which nothing lies in the tile, of a model that pads its image, have no cells
    begin += _whole(max(0.0, -begin), length) * length
    end -= _whole(max(0.0, end - side), length) * length
    first = ordered[0] + begin
    count = -_whole(first - ordered[-1] - end, length)
    weights = {}
    for start in ordered:
        of_patches = (start + edges).clamp(start, start + side)
        low, high = _whole(start + begin - first, length), -_whole(first - start - end, length)
        of_cells = first + length * torch.arange(low, high + 1, dtype=torch.float64)
        shared = torch.minimum(of_cells[1:, None], of_patches[1:]) - torch.maximum(
            of_cells[:-1, None], of_patches[:-1]
        )
        weights[start] = low, shared.clamp_min(0)
    return _Axis(weights, first, length, count)


def _whole(pixels: float, length: float) -> int:
    """How many whole cells there are in so many pixels; what is missing by rounding alone isn't missing."""
    return math.floor(pixels / length + 1e-6)

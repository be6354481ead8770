"""The share of positive values in tiles, against the arithmetic of the papers' own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitcam.evaluation.metrics.grid_pointing import positive_inside


def stretched(heatmap, size):
    """Bilinear interpolation pixel by pixel, corners not aligned."""
    rows, columns = heatmap.shape
    out = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            v = min(max((y + 0.5) * rows / size - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / size - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            b, a = v - top, u - left
            upper = (1 - a) * heatmap[top, left] + a * heatmap[top, right]
            lower = (1 - a) * heatmap[bottom, left] + a * heatmap[bottom, right]
            out[y, x] = (1 - b) * upper + b * lower
    return out


def grid_score(pixels, tile, grid):
    """Rao et al.: positive attributions in a cell over those in the whole grid."""
    side = len(pixels) // grid
    row, column = divmod(tile, grid)
    cell = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
    total = pixels[pixels > 0].sum()
    return cell[cell > 0].sum() / total if total > 1e-7 else 0.0


def masks_of(tiles, grid, side):
    mask = torch.zeros(grid * side, grid * side, dtype=torch.bool)
    for tile in tiles:
        row, column = divmod(tile, grid)
        mask[row * side : (row + 1) * side, column * side : (column + 1) * side] = True
    return mask


@pytest.mark.parametrize("grid", [2, 3])
def test_equals_a_naive_version(grid):
    heatmaps = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(grid))
    heatmaps[2] = -heatmaps[2].abs()  # says nothing for the class
    for tile in range(grid**2):
        ours = positive_inside(heatmaps, masks_of([tile], grid, 8)[None].expand(3, -1, -1))
        naive = [grid_score(stretched(heatmap.numpy(), grid * 8), tile, grid) for heatmap in heatmaps]
        assert ours.tolist() == pytest.approx(naive, abs=1e-6)
        one_by_one = [positive_inside(heatmap[None], masks_of([tile], grid, 8)[None]) for heatmap in heatmaps]
        assert torch.equal(ours, torch.cat(one_by_one))
    assert naive[2] == 0


def test_focus_equals_a_naive_version_of_two_tiles():
    heatmap = torch.randn(6, 6, generator=torch.Generator().manual_seed(5))
    pixels = stretched(heatmap.numpy(), 16)
    expected = grid_score(pixels, 1, 2) + grid_score(pixels, 2, 2)
    assert positive_inside(heatmap[None], masks_of([1, 2], 2, 8)[None]).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_zero_is_zero():
    """Unlike energy inside, whose zero is the map's least value: a map that is nearly the same all over says
    little.
    """
    heatmap = torch.full((1, 4, 4), 3.0)
    heatmap[0, 0, 0] = 4
    pixels = stretched(heatmap[0].numpy(), 16)
    score = positive_inside(heatmap, masks_of([0], 2, 8)[None]).item()
    assert score == pytest.approx(pixels[:8, :8].sum() / pixels.sum())
    assert 0.25 < score < 0.3


def test_undecided_pixels_count_nowhere():
    heatmap = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    everything, left = torch.ones(1, 16, 16, dtype=torch.bool), masks_of([0, 2], 2, 8)[None]
    assert positive_inside(heatmap, left, ignore=~left).item() == pytest.approx(1)
    assert positive_inside(heatmap, everything, ignore=left).item() == pytest.approx(1)

from __future__ import annotations

import pytest
import torch

from vitcam.errors import ImageError, ModelError
from vitcam.heatmap import normalize, to_grid, upsample
from vitcam.types import PatchGrid


def naive_bilinear(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pixel centres at (i + ½)·h/H − ½, clamped to the image, one pixel at a time."""
    h, w = image.shape
    out = torch.empty(height, width)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            dy, dx = y - top, x - left
            upper = (1 - dx) * image[top, left] + dx * image[top, right]
            lower = (1 - dx) * image[bottom, left] + dx * image[bottom, right]
            out[i, j] = (1 - dy) * upper + dy * lower
    return out


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_to_grid_is_row_major_for_any_batch():
    grid = PatchGrid(height=2, width=3, prefix=5)
    tokens = torch.arange(24.0).reshape(2, 2, 6)
    laid = to_grid(tokens, grid)
    assert laid.shape == (2, 2, 2, 3)
    for row in range(2):
        for column in range(3):
            assert torch.equal(laid[..., row, column], tokens[..., row * 3 + column])
    assert to_grid(tokens[0, 0], grid).shape == (2, 3)


def test_to_grid_refuses_prefix_tokens_and_says_so():
    with pytest.raises(
        ModelError, match=r"7 values, but the patch grid has 2×3 = 6 patches.*prefix tokens \(there are 1\)"
    ):
        to_grid(torch.zeros(1, 7), PatchGrid(height=2, width=3, prefix=1))


@pytest.mark.parametrize(
    ("grid", "size"), [((3, 4), (12, 9)), ((14, 14), (42, 35)), ((5, 2), (5, 2)), ((1, 1), (3, 4))]
)
def test_upsample_equals_naive_bilinear(grid: tuple[int, int], size: tuple[int, int]):
    maps = random_maps(2, 1, *grid)
    up = upsample(maps, size)
    assert up.shape == (2, 1, *size)
    torch.testing.assert_close(up[1, 0], naive_bilinear(maps[1, 0], *size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_upsample_refuses_a_size_without_pixels(size: tuple[int, int]):
    with pytest.raises(ImageError, match=r"\(height, width\) in pixels, both at least 1; got \("):
        upsample(torch.zeros(1, 1, 2, 2), size)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_normalize_brings_each_map_to_0_1_on_its_own(scale: float):
    maps = random_maps(2, 3, 5, 7) * scale
    before = maps.clone()
    scaled = normalize(maps)
    assert torch.equal(maps, before)
    assert scaled.shape == maps.shape
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled.amin((-2, -1)), torch.zeros(2, 3))
    assert torch.equal(scaled.amax((-2, -1)), torch.ones(2, 3))
    one = maps[1, 2].double()
    torch.testing.assert_close(
        scaled[1, 2].double(), (one - one.min()) / (one.max() - one.min()), atol=1e-6, rtol=0
    )


def test_normalize_ignores_offset_and_factor_and_keeps_the_order():
    maps = random_maps(1, 6, 6)
    torch.testing.assert_close(normalize(maps), normalize(3 * maps + 5), atol=1e-5, rtol=0)
    assert torch.equal(normalize(maps).flatten().argsort(), maps.flatten().argsort())


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e20])
def test_a_constant_map_becomes_zeros_even_after_interpolation(value: float):
    flat = torch.full((1, 1, 14, 14), value)
    assert torch.equal(normalize(flat), torch.zeros_like(flat))
    assert torch.equal(normalize(upsample(flat, (223, 225))), torch.zeros(1, 1, 223, 225))


def test_a_constant_map_leaves_its_neighbours_alone():
    maps = torch.stack([torch.ones(2, 2), torch.tensor([[0.0, 1.0], [2.0, 4.0]])])
    assert normalize(maps).tolist() == [[[0, 0], [0, 0]], [[0, 0.25], [0.5, 1]]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_normalize_refuses_what_is_not_finite(bad: float):
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 1, 2, 2] = bad
    with pytest.raises(ImageError, match=r'1 of 18 values are NaN or infinite.*precision="fp32"'):
        normalize(maps)

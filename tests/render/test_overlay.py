from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vitcam.errors import ImageError, VitcamError
from vitcam.heatmap import upsample
from vitcam.render import colorize, overlay
from vitcam.types import Box

GENERATOR = np.random.default_rng(0)
NOISE = Image.fromarray(GENERATOR.integers(0, 256, (40, 60, 3), dtype=np.uint8))
HEAT = GENERATOR.random((4, 6))


def grey(level: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def brightness(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L")).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_any_mode_gives_rgb_of_its_size_and_stays_as_it_was(mode: str):
    photo = NOISE.convert(mode)
    before = photo.tobytes()
    picture = overlay(photo, HEAT)
    assert picture.mode == "RGB"
    assert picture.size == photo.size
    assert photo.mode == mode
    assert photo.tobytes() == before


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (700, 3), (3, 700)])
def test_any_size(size: tuple[int, int]):
    assert overlay(grey(100, size), HEAT, boxes=[Box(0, 0, 6, 4)]).size == size


def test_same_input_same_picture_and_the_map_is_left_alone():
    before = HEAT.copy()
    assert overlay(NOISE, HEAT).tobytes() == overlay(NOISE, HEAT).tobytes()
    assert np.array_equal(HEAT, before)


def test_what_is_transparent_lies_on_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert overlay(clear, HEAT).tobytes() == overlay(grey(255, (8, 8)), HEAT).tobytes()


def test_full_opacity_shows_the_colours_and_none_the_photograph():
    hot = np.ones((40, 60))
    assert np.array_equal(overlay(NOISE, hot, opacity=1), colorize(hot))
    bare = np.asarray(overlay(NOISE, hot, opacity=0)).astype(int)
    correlation = np.corrcoef(bare.ravel(), np.asarray(NOISE).astype(int).ravel())[0, 1]
    assert correlation > 0.999


def test_cold_regions_keep_the_photographs_shapes_but_hardly_its_colours():
    cold = np.asarray(overlay(NOISE, np.zeros((4, 6)))).astype(int)
    assert np.corrcoef(cold.mean(2).ravel(), brightness(NOISE).ravel())[0, 1] > 0.95
    spread = np.ptp(np.asarray(NOISE).astype(int), axis=2).mean()
    assert np.ptp(cold, axis=2).mean() < 0.25 * spread


@pytest.mark.parametrize("level", range(0, 256, 15))
def test_a_hot_spot_stands_out_on_dark_and_light_photographs(level: int):
    heat = np.zeros((16, 16))
    heat[8, 8] = 1
    picture = overlay(grey(level), heat)
    light = brightness(picture)
    assert light[8, 8] - light[0, 0] >= 15
    red, _, blue = picture.getpixel((8, 8))
    assert red - blue >= 60


def test_the_object_remains_visible_under_the_hottest_spot():
    hot = np.ones((16, 16))
    contrast = brightness(overlay(grey(255), hot)) - brightness(overlay(grey(0), hot))
    assert contrast.min() >= 30


def test_heat_shows_in_order():
    ramp = np.linspace(0, 1, 64)[None]
    for level in (0, 128):
        red = np.asarray(overlay(grey(level, (64, 4)), ramp))[0, :, 0].astype(int)
        assert np.all(np.diff(red) >= -1)
        assert red[-1] - red[0] > 80


def test_a_map_on_the_patch_grid_is_stretched_like_upsample():
    full = upsample(torch.from_numpy(HEAT)[None, None].float(), (40, 60))[0, 0].numpy()
    difference = np.asarray(overlay(NOISE, HEAT)).astype(int) - np.asarray(overlay(NOISE, full)).astype(int)
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_box_is_outlined_in_pixels_of_the_map(level: int):
    photo, heat = grey(level, (240, 160)), np.zeros((16, 24))
    plain = np.asarray(overlay(photo, heat)).astype(int)
    boxed = np.asarray(overlay(photo, heat, boxes=[Box(2, 3, 10, 12)])).astype(int)
    changed = np.argwhere(np.abs(boxed - plain).sum(2) > 0)
    assert changed.min(0).tolist() == [30, 20]
    assert changed.max(0).tolist() == [119, 99]
    assert np.array_equal(boxed[36:114, 26:94], plain[36:114, 26:94])
    line = boxed[75, 20:26].sum(1)
    assert line.max() == 3 * 255
    assert line.min() < 60


@pytest.mark.parametrize("box", [Box(0, 0, 0.2, 0.2), Box(-9, -9, -5, -5), Box(2, 1, 99, 99)])
def test_odd_boxes_do_not_break_it(box: Box):
    assert overlay(NOISE, HEAT, boxes=[box]).size == NOISE.size


def test_errors():
    with pytest.raises(ImageError, match=r"one map \(height, width\); got an array of shape \(1, 4, 6\)"):
        overlay(NOISE, HEAT[None])
    with pytest.raises(ImageError, match="holds 1 values that are NaN or infinite"):
        overlay(NOISE, np.array([[0.0, np.nan]]))
    with pytest.raises(ImageError, match="but this one has 0 to 3"):
        overlay(NOISE, np.array([[0.0, 3.0]]))
    with pytest.raises(VitcamError, match=r"between 0 \(the photograph alone\) and 1; got 70"):
        overlay(NOISE, HEAT, opacity=70)
    with pytest.raises(VitcamError, match="no colour map 'jet'"):
        overlay(NOISE, HEAT, colormap="jet")

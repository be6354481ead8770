from __future__ import annotations

import numpy as np
import pytest

from vitcam.errors import ImageError, VitcamError
from vitcam.render.colors import COLORMAPS, DEFAULT_COLORMAP, colorize

RAMP = np.linspace(0, 1, 256)[None]


def lightness(colors: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB 0..255."""
    channels = colors / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_lightness_rises_evenly(colormap: str):
    light = lightness(colorize(RAMP, colormap))[0]
    assert np.all(np.diff(light) > -0.3)
    straight = np.linspace(light[0], light[-1], 256)
    assert np.abs(light - straight).max() < 0.08 * (light[-1] - light[0])


def test_the_default_runs_from_black_to_nearly_white():
    light = lightness(colorize(RAMP))[0]
    assert light[0] < 2
    assert light[-1] > 95
    assert np.array_equal(colorize(RAMP), colorize(RAMP, DEFAULT_COLORMAP))


def test_shape_type_and_untouched_input():
    heat = np.random.default_rng(0).random((5, 7))
    before = heat.copy()
    colors = colorize(heat)
    assert colors.shape == (5, 7, 3)
    assert colors.dtype == np.uint8
    assert np.array_equal(heat, before)


def test_an_overshoot_by_rounding_is_forgiven():
    assert np.array_equal(colorize([[1 + 1e-6, -1e-6]]), colorize([[1, 0]]))


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        (np.zeros((1, 2, 3)), r"one map \(height, width\); got an array of shape \(1, 2, 3\).*maps\[0, 0\]"),
        (np.zeros(4), r"got an array of shape \(4,\)"),
        (np.zeros((0, 4)), r"got an array of shape \(0, 4\)"),
        ([[0, np.nan, np.inf]], "holds 2 values that are NaN or infinite"),
        ([[0, 255]], r"from 0 \(cold\) to 1 \(hot\), but this one has 0 to 255. Scale it first"),
        ([[-0.5, 1]], "has -0.5 to 1"),
    ],
)
def test_a_wrong_map_is_refused_with_what_came(heat: object, message: str):
    with pytest.raises(ImageError, match=message):
        colorize(heat)  # type: ignore[arg-type]  # the point of the test


def test_an_unknown_colour_map_is_refused_with_those_there_are():
    with pytest.raises(VitcamError, match=r"no colour map 'jet' here\. There are: inferno, magma"):
        colorize(RAMP, "jet")

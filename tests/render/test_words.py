from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import ImageError
from vitcam.render import Cell, panel
from vitcam.render.words import AGAINST, FOR, words

TEXT = [("a", 0.0), ("photo", -1.0), ("of", 1.0), ("cats", 2.0)]
HEAT = np.random.default_rng(0).random((4, 6))
PHOTO = Image.new("RGB", (90, 60), (10, 120, 200))


def area(picture: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == color).all(2).sum())


def test_the_largest_weight_is_shaded_fully_and_others_in_proportion():
    half_against = tuple(round(255 + (full - 255) / 2) for full in AGAINST)
    half_for = tuple(round(255 + (full - 255) / 2) for full in FOR)
    picture = words(TEXT, 300, 12)
    assert area(picture, FOR) > area(picture, half_for) > 50
    assert area(picture, half_against) > 100
    assert area(picture, AGAINST) == 0
    tripled = words([(text, 3 * weight) for text, weight in TEXT], 300, 12)
    assert tripled.tobytes() == picture.tobytes()


def test_what_has_no_weight_is_not_shaded():
    assert area(words([("a", 0.0), ("b", 0.0)], 200, 12), (255, 255, 255)) > 200 * 15


@pytest.mark.parametrize("text", [[], [("", 1.0)], [("猫\n" * 99, 1.0)], [("word", 1.0)] * 2000])
def test_any_text_fits(text):
    picture = words(text, 120, 12)
    assert picture.width == 120
    assert picture.height <= 12 * 20
    assert bool(picture.height) == bool(text)


def test_a_weight_that_is_no_number_is_an_error():
    with pytest.raises(ImageError, match="the weight of the token 'cat' is NaN or infinite"):
        words([("a", 1.0), ("cat", float("nan"))], 200, 12)


def test_they_stand_below_their_overlay_and_leave_the_others_level():
    without = panel(PHOTO, [[Cell(HEAT), Cell(HEAT.T)]], tile=120)
    picture = panel(PHOTO, [[Cell(HEAT, words=TEXT), Cell(HEAT.T)]], tile=120)
    assert picture.height > without.height
    rows = without.height * 2 // 3
    assert np.array_equal(np.asarray(picture)[:rows], np.asarray(without)[:rows])
    assert area(picture.crop((0, rows, picture.width, picture.height)), FOR) > 50

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vitcam.render.text import ELLIPSIS, drawable, font, label, shorten, wrap

FACE = font(14)
WORDS = "where a vision transformer looks when it decides for the soft-coated wheaten terrier"


@pytest.mark.parametrize("width", [20, 60, 100, 200, 400])
def test_shortened_text_is_the_longest_beginning_that_fits(width: int):
    short = shorten(WORDS, FACE, width)
    assert FACE.getlength(short) <= width
    assert short.endswith(ELLIPSIS)
    kept = len(short) - 1
    assert WORDS.startswith(short[:-1])
    longer = WORDS[: kept + 2].rstrip() + ELLIPSIS
    assert FACE.getlength(longer) > width


def test_text_that_fits_is_left_alone():
    assert shorten("cat", FACE, FACE.getlength("cat")) == "cat"
    assert shorten("", FACE, 0) == ""


@pytest.mark.parametrize("width", [120, 200, 400, 9000])
def test_wrapped_lines_fit_and_keep_every_word(width: int):
    lines = wrap(WORDS, FACE, width)
    assert all(FACE.getlength(line) <= width for line in lines)
    assert " ".join(lines) == WORDS
    for line, following in pairwise(lines):
        assert FACE.getlength(f"{line} {following.split()[0]}") > width


def test_a_word_wider_than_the_line_is_shortened():
    assert wrap("", FACE, 50) == []
    lines = wrap("a Donaudampfschifffahrtsgesellschaft b", FACE, 80)
    assert lines[0] == "a"
    assert lines[1].endswith(ELLIPSIS)
    assert lines[2] == "b"


def test_a_label_has_its_width_and_a_line_per_line():
    one, two = label("cat", 14, 100), label("cat\n26 %", 14, 100)
    assert one.width == two.width == 100
    assert two.height == 2 * one.height
    assert label("", 14, 100).height == 0
    assert label("cat", 14, 100, height=90).height == 90


def test_a_label_is_dark_ink_on_white():
    pixels = np.asarray(label("cat", 14, 100).convert("L"))
    assert pixels.min() < 60
    assert np.median(pixels) == 255


def test_letters_that_the_font_has_not_are_told_by_their_codes():
    assert drawable("Füße, 95 % × …\ncat") == "Füße, 95 % × …\ncat"
    assert drawable("猫 cat") == "\\u732b cat"
    assert drawable("a\udc80b") == "a\\udc80b"  # bytes of a file name that aren't UTF-8
    assert label("猫", 14, 100).tobytes() == label("\\u732b", 14, 100).tobytes()
    assert wrap("猫", FACE, 100) == ["\\u732b"]

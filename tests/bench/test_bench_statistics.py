"""Samples, medians, ratios and limits, with numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vitcam.bench.limits import Check, Limit, check
from vitcam.bench.statistics import Spread, differences, per_image, ratios, spread


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([5.0], (5.0, 5.0, 5.0)),
        ([1.0, 3.0], (1.5, 2.0, 2.5)),
        ([10, 1, 3, 2, 4], (2.0, 3, 4.0)),
        ([4.0, 1.0, 2.0, 3.0], (1.75, 2.5, 3.25)),
    ],
)
def test_spread(samples, expected):
    assert spread(samples) == Spread(*expected)
    np.testing.assert_allclose(expected, np.percentile(samples, [25, 50, 75]))


def test_a_ratio_is_taken_within_its_round():
    # The machine became ten times slower in the second round; the ratio is the same.
    assert ratios([1.5, 15.0], [[1.0, 10.0]]) == (1.5, 1.5)


def test_several_references_are_added_up():
    assert ratios([3.0, 3.0], [[1.0, 4.0], [2.0, 2.0]]) == (1.0, 0.5)


def test_rounds_that_one_side_lacks_are_left_out():
    assert ratios([2.0], [[1.0, 5.0, 5.0]]) == (2.0,)
    assert ratios([2.0, 9.0, 9.0], [[1.0]]) == (2.0,)
    assert differences([5.0, 6.0, 7.0], [1.0, 3.0]) == (4.0, 3.0)


def test_seconds_per_image():
    assert per_image({"a": [8.0, 4.0], "b": [3.0]}, {"a": 8, "b": 0}) == {"a": [1.0, 0.5], "b": [3.0]}


SECONDS = {
    "forward": [1.0, 2.0, 1.0],
    "agcam": [1.1, 2.4, 1.3],
    "gae": [2.0, 4.0, 2.0],
    "both": [1.55, 3.2, 1.65],
}


@pytest.mark.parametrize(
    ("limit", "name", "value", "met"),
    [
        (Limit("time", 1.2), "agcam", 1.2, True),  # 1.1, 1.2, 1.3
        (Limit("time", 1.19), "agcam", 1.2, False),
        (Limit("time", 0.5, of=("agcam", "gae")), "both", 0.5, True),  # 0.5, 0.5, 0.5
        (Limit("speed", 0.85, at_least=True), "gae", 0.5, False),
        (Limit("speed", 1.6, at_least=True, of=("gae",)), "agcam", 4.0 / 2.4, True),
        (Limit("seconds", 1.5), "agcam", 1.3, True),
        (Limit("memory", 15.0), "agcam", 20.0, False),
        (Limit("rank correlation", 0.99, at_least=True), "agcam", 0.995, True),
    ],
)
def test_limits(limit, name, value, met):
    found = check(limit, name, "forward", SECONDS, {"memory": 20.0, "rank correlation": 0.995})
    assert found.value == pytest.approx(value)
    assert Check(limit, round(found.value, 9)).met is met


@pytest.mark.parametrize(
    "limit", [Limit("time", 1, of=("nobody",)), Limit("memory", 1), Limit("time", 1), Limit("likeness", 1)]
)
def test_a_limit_without_what_it_needs_is_not_checked(limit):
    assert check(limit, "agcam", None, SECONDS, {}) is None

"""True boxes, as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vitcam.errors import MetricError
from vitcam.types import Box

# Each a Box or four numbers, in a tuple, a list, an array or a tensor; which is checked below.
Boxes = Iterable[Any]


def checked_boxes(boxes: Boxes) -> list[Box]:
    """Boxes from ``Box`` or (left, top, right, bottom).

    Raises:
        MetricError: there is none, or one isn't four numbers with left ≤ right and top ≤ bottom.
    """
    checked = [_box(box) for box in boxes]
    if not checked:
        raise MetricError("there is no true box to compare with: leave out images without boxes")
    return checked


def _box(given: Any) -> Box:
    numbers = tuple(float(number) for number in given) if isinstance(given, Iterable) else (given,)
    if len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise MetricError(
            f"expected a box as (left, top, right, bottom) with left ≤ right and top ≤ bottom, got {numbers}"
        )
    return Box(*numbers)

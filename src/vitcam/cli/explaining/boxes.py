"""Boxes in a photograph's own pixels."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.types import Box


def to_photograph(
    boxes: Sequence[Box], seen: tuple[int, int], region: Box, photograph: tuple[int, int]
) -> list[Box]:
    """Carries boxes from what the model saw to the photograph; what lies outside it is cut off.

    Args:
        boxes: in pixels of what the model saw.
        seen: (height, width) of what the model saw.
        region: the part of the photograph that this was, in the photograph's pixels.
        photograph: its (width, height).

    Returns:
        The boxes in whole pixels of the photograph; those that lie outside it are left out.

    Example:
        >>> to_photograph([Box(0, 0, 112, 112)], (224, 224), Box(80, 0, 560, 480), (640, 480))
        [Box(left=80, top=0, right=320, bottom=240)]
    """
    x, y = region.width / seen[1], region.height / seen[0]
    width, height = photograph
    carried = [
        Box(
            left=max(0, round(region.left + x * box.left)),
            top=max(0, round(region.top + y * box.top)),
            right=min(width, round(region.left + x * box.right)),
            bottom=min(height, round(region.top + y * box.bottom)),
        )
        for box in boxes
    ]
    return [box for box in carried if box.left < box.right and box.top < box.bottom]

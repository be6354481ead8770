"""Outlines of boxes that show on any picture."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageDraw

from vitcam.types import Box

LINE = (255, 255, 255)
PLACE = (64, 200, 255)
HALO = (10, 10, 14)


def draw_outlines(
    picture: Image.Image,
    boxes: Iterable[Box],
    scale: tuple[float, float] = (1, 1),
    color: tuple[int, int, int] = LINE,
) -> None:
    """Draw the boxes into a picture: a line, white unless said, between two dark ones.

    Args:
        picture: RGB; changed in place.
        boxes: rectangles whose right and bottom are one past their last pixel.
        scale: what to multiply x and y of the boxes by to get pixels of the picture.
        color: of the line.
    """
    width = max(1, round(min(picture.size) / 160))
    halo = max(1, width // 2)
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        left, top = round(box.left * scale[0]), round(box.top * scale[1])
        right = max(round(box.right * scale[0]) - 1, left)
        bottom = max(round(box.bottom * scale[1]) - 1, top)
        for inset, ink, line in ((0, HALO, width + 2 * halo), (halo, color, width)):
            inner = (left + inset, top + inset, right - inset, bottom - inset)
            if inner[2] >= inner[0] and inner[3] >= inner[1]:
                draw.rectangle(inner, outline=ink, width=line)

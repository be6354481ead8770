"""Puts pictures beside and above each other on white paper."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

PAPER = (255, 255, 255)


def beside(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    """A row, its pictures aligned at the bottom."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = blank(width, max(picture.height for picture in pictures))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, row.height - picture.height))
        left += picture.width + gap
    return row


def above(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    """A column, its pictures aligned at the left; pictures without height take no gap."""
    seen = [picture for picture in pictures if picture.height]
    height = sum(picture.height for picture in seen) + gap * max(len(seen) - 1, 0)
    column = blank(max(picture.width for picture in pictures), height)
    top = 0
    for picture in seen:
        column.paste(picture, (0, top))
        top += picture.height + gap
    return column


def framed(picture: Image.Image, margin: int) -> Image.Image:
    """The picture with paper all around it."""
    sheet = blank(picture.width + 2 * margin, picture.height + 2 * margin)
    sheet.paste(picture, (margin, margin))
    return sheet


def blank(width: int, height: int) -> Image.Image:
    """A piece of paper."""
    return Image.new("RGB", (width, height), PAPER)

"""Text in pictures: a TrueType font that is always there, and lines that fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vitcam.render.stack import blank

INK = (24, 24, 27)
PALE_INK = (101, 101, 110)
ELLIPSIS = "…"

Line = tuple[str, ImageFont.FreeTypeFont, tuple[int, int, int]]
"""Text, its font, its colour."""


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, from the files that matplotlib ships."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


@cache
def _letters() -> frozenset[int]:
    """What both faces of the font can write."""
    from matplotlib.ft2font import FT2Font

    plain, bold = (FT2Font(font(12, bold).path).get_charmap() for bold in (False, True))
    return frozenset(plain) & frozenset(bold)


def drawable(text: str) -> str:
    """The text with the codes of letters that the font hasn't, which tell more than empty boxes.

    Example:
        >>> drawable("cat, 猫")
        'cat, \\\\u732b'
    """
    known = _letters()
    return "".join(
        letter if ord(letter) in known or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def label(text: str, em: int, width: int, height: int = 0) -> Image.Image:
    """A label: its first line bold and dark, further lines grey, each shortened to the width.

    Args:
        text: the lines; nothing gives a picture without height.
        em: the size of the type in pixels.
        width: of the picture, in pixels.
        height: of the picture at least; the text stands in the middle of it.
    """
    first, *others = drawable(text).split("\n")
    bold, plain = font(em, bold=True), font(em)
    lines: list[Line] = [(first, bold, INK), *((line, plain, PALE_INK) for line in others)] if text else []
    return set_lines([(shorten(line, face, width), face, ink) for line, face, ink in lines], width, height)


def set_lines(lines: Sequence[Line], width: int, height: int = 0) -> Image.Image:
    """Draw lines below each other, in the middle of a picture of at least this height."""
    advances = [round(1.4 * face.size) for _, face, _ in lines]
    picture = blank(width, max(sum(advances), height))
    draw = ImageDraw.Draw(picture)
    top = (picture.height - sum(advances)) // 2
    for (text, face, ink), advance in zip(lines, advances, strict=True):
        draw.text((0, top + round(face.size)), text, font=face, fill=ink, anchor="ls")
        top += advance
    return picture


def shorten(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text if it fits into ``width`` pixels, otherwise its beginning and an ellipsis.

    Example:
        >>> shorten("Staffordshire bullterrier", font(12), 80)
        'Staffordshi…'
    """
    if face.getlength(text) <= width:
        return text
    fits = [end for end in range(len(text)) if face.getlength(text[:end].rstrip() + ELLIPSIS) <= width]
    return text[: fits[-1]].rstrip() + ELLIPSIS if fits else ELLIPSIS


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` pixels; a word that is longer is shortened.

    Example:
        >>> wrap("where it looks", font(12), 60)
        ['where it', 'looks']
    """
    lines: list[str] = []
    for word in drawable(text).split():
        if lines and face.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, face, width))
    return lines

"""How much each of several parts counts, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitcam.render.stack import blank
from vitcam.render.text import INK, PALE_INK, font, shorten

Bar = tuple[str, float]
"""What it is called, and its share, 0 to 1."""

COLOR = (92, 84, 160)
OTHERS = "others"


def bars(shares: Sequence[Bar], width: int, height: int, em: int) -> Image.Image:
    """A bar for each share, its name in front and its percentage behind; the longest is as long as there is room.

    Where there isn't room for all, the largest are shown, and what the others come to.

    Args:
        shares: in the order in which they are shown.
        width, height: of the picture, in pixels.
        em: the size of the type.

    Example:
        >>> bars([("red", 0.7), ("green", 0.2), ("blue", 0.1)], width=160, height=90, em=12).size
        (160, 90)
    """
    shown = _that_fit(shares, max(1, int(height / (1.2 * em))))
    picture = blank(width, height)
    draw = ImageDraw.Draw(picture)
    face = font(em)
    name_width = min(width // 3, round(max(face.getlength(name) for name, _ in shown)))
    room = width - name_width - round(face.getlength("100 %")) - em
    longest = max(max(share for _, share in shown), 1e-9)
    step = min(height / len(shown), 2 * em)
    for row, (name, share) in enumerate(shown):
        middle = round((row + 0.5) * step)
        draw.text((0, middle), shorten(name, face, name_width), font=face, fill=INK, anchor="lm")
        left = name_width + em // 2
        right = left + round(room * share / longest)
        draw.rectangle((left, middle - round(0.3 * em), right, middle + round(0.3 * em)), fill=COLOR)
        draw.text((right + em // 2, middle), f"{100 * share:.0f} %", font=face, fill=PALE_INK, anchor="lm")
    return picture


def _that_fit(shares: Sequence[Bar], rows: int) -> list[Bar]:
    if len(shares) <= rows:
        return list(shares)
    largest = sorted(range(len(shares)), key=lambda number: -shares[number][1])[: rows - 1]
    rest = sum(share for number, (_, share) in enumerate(shares) if number not in largest)
    return [*(shares[number] for number in sorted(largest)), (OTHERS, rest)]

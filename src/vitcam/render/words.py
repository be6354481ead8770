"""The tokens of a text, each shaded by its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitcam.errors import ImageError
from vitcam.render.stack import PAPER, blank
from vitcam.render.text import INK, drawable, font, shorten

Word = tuple[str, float]
"""A token as it is written, and its weight."""

FOR, AGAINST = (242, 142, 43), (87, 148, 208)
"""The shade of the largest weight, by its sign."""

ROWS = 12
"""More are cut off: a caption is shorter."""


def words(weighted: Sequence[Word], width: int, em: int) -> Image.Image:
    """The tokens in lines of this width, the largest weight shaded fully, and others in proportion to it.

    Args:
        weighted: in the order of the text; weights of either sign.
        width: of the picture in pixels.
        em: the size of the type.

    Raises:
        ImageError: a weight isn't finite.

    Example:
        >>> words([("a", 0.0), ("cat", 0.7), ("sleeps", -0.2)], width=160, em=12).size
        (160, 20)
    """
    if unusable := [text for text, weight in weighted if not math.isfinite(weight)]:
        raise ImageError(f"the weight of the token {unusable[0]!r:.40} is NaN or infinite")
    face, gap, line = font(em), max(2, em // 3), round(1.7 * em)
    largest = max((abs(weight) for _, weight in weighted), default=0.0)
    placed: list[tuple[int, int, str, float]] = []
    left = row = 0
    for text, weight in weighted:
        shown = shorten(drawable(text).replace("\n", "\\n"), face, width - 2 * gap)
        advance = round(face.getlength(shown)) + 2 * gap
        if left and left + advance > width:
            left, row = 0, row + 1
        if row == ROWS:
            placed[-1] = (*placed[-1][:2], "…", 0.0)
            break
        placed.append((left, row, shown, weight / largest if largest else 0.0))
        left += advance + gap // 2
    picture = blank(width, (placed[-1][1] + 1) * line if placed else 0)
    draw = ImageDraw.Draw(picture)
    for left, row, shown, share in placed:
        right, top = left + round(face.getlength(shown)) + 2 * gap, row * line
        draw.rectangle((left, top, right, top + line - gap), fill=_shade(share))
        draw.text((left + gap, top + (line - gap) // 2), shown, font=face, fill=INK, anchor="lm")
    return picture


def _shade(share: float) -> tuple[int, int, int]:
    full = FOR if share > 0 else AGAINST
    red, green, blue = (round(p + abs(share) * (f - p)) for p, f in zip(PAPER, full, strict=True))
    return red, green, blue

"""Sounds as spectrograms: how loud each band of frequencies is at each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.read_sound import SOUNDS
from vitcam.inputs.sheets import LEAST

LEFT, BOTTOM = 4.4, 3
"""Heights of a letter for the axes."""

LETTER, LETTERS = 10, 45
"""The least height of a letter in pixels, and how many stand above each other in the width of a spectrogram."""

TICKS = 4


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """The spectrogram, low frequencies at the bottom, with its axes in frames and bands."""
    _, height, width = values.shape
    return spectrogram(
        values[0],
        [str(round(width * n / TICKS)) for n in range(TICKS + 1)],
        [str(round(height * n / TICKS)) for n in range(TICKS + 1)],
        "time in frames",
        "band",
    )


def spectrogram(
    values: Array, times: Sequence[str], heights: Sequence[str], along: str, up: str
) -> Image.Image:
    """A spectrogram of (bands, times) and its axes.

    Args:
        values: how loud each band is at each time.
        times, heights: what stands at the ends of the axes and at three places between them.
        along, up: what the axes are.
    """
    low, high = values.min(), values.max()
    shown = _laid((values - low) / max(float(high - low), 1e-12), fill=1.0)
    drawn = Image.fromarray(np.rint(shown * 255).astype(np.uint8)).convert("RGB")
    _, _, letter = _measures(*values.shape)
    left, bottom = round(LEFT * letter), round(BOTTOM * letter)
    draw, width, height = ImageDraw.Draw(drawn), drawn.width - left, drawn.height - bottom
    face, tick = ImageFont.load_default(letter), max(3, letter // 3)

    def write(place: tuple[float, float], text: str, anchor: str) -> None:
        draw.text(place, text, fill="black", anchor=anchor, font=face)

    for n, (time, of_height) in enumerate(zip(times, heights, strict=True)):
        x, y = left + round((width - 1) * n / TICKS), round((height - 1) * (1 - n / TICKS))
        draw.line([(x, height), (x, height + tick)], fill="black")
        draw.line([(left - tick - 1, y), (left - 1, y)], fill="black")
        write((x, height + tick + 1), time, "la" if n == 0 else "ra" if n == TICKS else "ma")
        write((left - tick - 2, y), of_height, "rd" if n == 0 else "rm" if n < TICKS else "ra")
    write((left + width // 2, height + tick + 1.2 * letter), along, "ma")
    write((2, height + tick + 1.2 * letter), up, "la")
    return drawn


def laid(maps: Array) -> Array:
    """Maps over bands and times, over the spectrogram."""
    return _laid(maps, fill=0.0)


def _measures(bands: int, times: int) -> tuple[int, int, int]:
    """How many pixels high a band is, how many wide a time, and how many high a letter."""
    high = max(-(-LEAST // bands), round(times / bands / 2))
    wide = max(1, -(-2 * LEAST // times))
    return high, wide, max(LETTER, times * wide // LETTERS)


def _laid(values: Array, fill: float) -> Array:
    high, wide, letter = _measures(*values.shape[-2:])
    upright = values[..., ::-1, :].repeat(high, axis=-2).repeat(wide, axis=-1)
    margins = [(0, 0)] * (values.ndim - 2) + [(0, round(BOTTOM * letter)), (round(LEFT * letter), 0)]
    return np.pad(upright, margins, constant_values=fill)


SOUND = InputKind(
    name="sound",
    tab="Sound",
    axes=("band", "time"),
    shape="(batch, time, bands)",
    orders=((0, 3, 2),),
    picture=picture,
    laid=laid,
    suffixes=SOUNDS,
    size=1.5,
)

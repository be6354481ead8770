"""Sounds as spectrograms: how loud each band of frequencies is at each time."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vitcam.inputs.kind import Array, Bands, InputKind
from vitcam.inputs.sheets import LEAST

LEFT, BOTTOM = 44, 30
"""Pixels for the axes."""

TICKS = 4


def picture(values: Array, bands: Bands = None) -> Image.Image:
    """The spectrogram, low frequencies at the bottom, with its axes."""
    spectrogram = values[0]
    low, high = spectrogram.min(), spectrogram.max()
    shown = _laid((spectrogram - low) / max(float(high - low), 1e-12), fill=1.0)
    drawn = Image.fromarray(np.rint(shown * 255).astype(np.uint8)).convert("RGB")
    _draw_axes(ImageDraw.Draw(drawn), drawn.size, *spectrogram.shape)
    return drawn


def laid(maps: Array) -> Array:
    """Maps over bands and times, over the spectrogram."""
    return _laid(maps, fill=0.0)


def _laid(values: Array, fill: float) -> Array:
    bands, times = values.shape[-2:]
    high = max(-(-LEAST // bands), round(times / bands / 2))
    wide = max(1, -(-2 * LEAST // times))
    upright = values[..., ::-1, :].repeat(high, axis=-2).repeat(wide, axis=-1)
    margins = [(0, 0)] * (values.ndim - 2) + [(0, BOTTOM), (LEFT, 0)]
    return np.pad(upright, margins, constant_values=fill)


def _draw_axes(draw: ImageDraw.ImageDraw, size: tuple[int, int], bands: int, times: int) -> None:
    width, height = size[0] - LEFT, size[1] - BOTTOM
    for n in range(TICKS + 1):
        x, y = LEFT + round((width - 1) * n / TICKS), round((height - 1) * (1 - n / TICKS))
        draw.line([(x, height), (x, height + 3)], fill="black")
        draw.line([(LEFT - 4, y), (LEFT - 1, y)], fill="black")
        anchor = "la" if n == 0 else "ra" if n == TICKS else "ma"
        draw.text((x, height + 4), str(round(times * n / TICKS)), fill="black", anchor=anchor)
        draw.text(
            (LEFT - 6, y),
            str(round(bands * n / TICKS)),
            fill="black",
            anchor="rd" if n == 0 else "rm" if n < TICKS else "ra",
        )
    draw.text((LEFT + width // 2, height + 16), "time in frames", fill="black", anchor="ma")
    draw.text((2, height + 16), "band", fill="black", anchor="la")


SOUND = InputKind(
    name="sound",
    axes=("band", "time"),
    shape="(batch, time, bands)",
    orders=((0, 3, 2),),
    picture=picture,
    laid=laid,
)

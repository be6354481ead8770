"""A view in red, green and blue of any number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitcam.errors import ImageError
from vitcam.inputs.kind import Array, Bands

SENTINEL_2 = 13
"""Bands of Sentinel-2, of which numbers 3, 2 and 1 (B4, B3, B2) are red, green and blue."""

DARK, LIGHT = 2, 98
"""Percentiles of a band that become black and white, as is usual in remote sensing."""


def chosen_bands(channels: int, bands: Bands = None) -> Sequence[int]:
    """The channels that are shown as red, green and blue: one for all three, or three.

    Raises:
        ImageError: there are no such channels.

    Example:
        >>> chosen_bands(1), chosen_bands(4), chosen_bands(13), chosen_bands(13, (7, 3, 2))
        ((0,), (0, 1, 2), (3, 2, 1), (7, 3, 2))
    """
    if bands is None:
        return (3, 2, 1) if channels == SENTINEL_2 else (0, 1, 2) if channels >= 3 else (0,)
    given = tuple(bands) if isinstance(bands, Sequence) else (bands,)
    if len(given) not in (1, 3) or not all(type(n) is int and -channels <= n < channels for n in given):
        raise ImageError(
            f"bands are the numbers of one or three of the {channels} channels, counted from 0, that are shown as "
            f"red, green and blue; got {bands!r}"
        )
    return given


def rgb_view(values: Array, bands: Bands = None) -> Array:
    """A normalised input in red, green and blue, from 0 to 1.

    Up to three channels are stretched together, from the lowest value to the highest. Of more, and of chosen ones,
    each is stretched on its own, between its 2nd and its 98th percentile: bands of a satellite differ by far more
    than colours.

    Args:
        values: (channels, …), any number of them.
        bands: which channels are shown; None: the first three, of 13 those of Sentinel-2, of less the first.

    Raises:
        ImageError: there are no such channels.

    Example:
        >>> rgb_view(np.arange(8.0).reshape(2, 4)).shape
        (3, 4)
    """
    shown = values[list(chosen_bands(len(values), bands))].astype(np.float64)
    if bands is None and len(values) <= 3:
        low, high = shown.min(), shown.max()
    else:
        flat = shown.reshape(len(shown), -1)
        low, high = (
            np.percentile(flat, at, axis=1).reshape(-1, *[1] * (shown.ndim - 1)) for at in (DARK, LIGHT)
        )
    scaled = np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)
    return np.broadcast_to(scaled, (3, *shown.shape[1:]))

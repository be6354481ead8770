"""Checks a map that is to be drawn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from vitcam.errors import ImageError


def checked_heat(heat: ArrayLike) -> Float32[np.ndarray, "H W"]:
    """The map as float32, if it is one finite map in 0..1.

    Raises:
        ImageError: it isn't; says what came.
    """
    values = np.asarray(heat, dtype=np.float32)
    if values.ndim != 2 or values.size == 0:
        raise ImageError(
            f"A picture takes one map (height, width); got an array of shape {values.shape}. "
            "Pick one image and one target first, as in maps[0, 0]."
        )
    if not np.isfinite(values).all():
        raise ImageError(f"The map holds {np.sum(~np.isfinite(values))} values that are NaN or infinite.")
    # Interpolation may overshoot by a rounding error.
    if values.min() < -1e-5 or values.max() > 1 + 1e-5:
        raise ImageError(
            f"A map is drawn from 0 (cold) to 1 (hot), but this one has {values.min():.4g} to "
            f"{values.max():.4g}. Scale it first: vitcam.heatmap.normalize, or Explanation.upsampled()."
        )
    return values.clip(0, 1)

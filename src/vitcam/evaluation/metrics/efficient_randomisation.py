"""Efficient model parameter randomisation: does the map become more complex when the model forgets all?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.sanity_case import SanityCase

BINS = 100


def histogram_entropy(maps: Float[Tensor, "batch height width"], bins: int = BINS) -> Float[Tensor, " batch"]:
    """The entropy of the histogram of each map's values, −Σ p·ln p, float64; from 0 to ln bins.

    The bins divide the range from a map's smallest to its largest value evenly, so that its scale doesn't matter. 0
    for a constant map.

    Example:
        >>> histogram_entropy(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])).exp()
        tensor([2.], dtype=torch.float64)
    """
    values = maps.double().flatten(1)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    spread = (high - low).where(high > low, 1.0)
    places = ((values - low) / spread * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    counts.scatter_add_(1, places, torch.ones_like(values))
    entropy: Tensor = torch.special.entr(counts / values.shape[1]).sum(1)
    return entropy


def entropy_rise(
    maps: Float[Tensor, "batch height width"], randomised: Float[Tensor, "batch height width"]
) -> list[float | None]:
    """(H(randomised map) − H(map)) / H(map), with H the ``histogram_entropy``; None for a constant map.

    Source: Hedström et al. 2024, arXiv 2401.06465 (eMPRT), as Quantus computes it, of 100 bins, but of maps min-maxed
    instead of their magnitudes.

    Args:
        maps: of the trained model, in pixels.
        randomised: of a model whose weights were all drawn anew.

    Example:
        >>> maps = torch.rand(2, 32, 32)
        >>> entropy_rise(maps, maps)
        [0.0, 0.0]
    """
    before, after = histogram_entropy(maps), histogram_entropy(randomised)
    pairs = zip(before.tolist(), after.tolist(), strict=True)
    return [(now - then) / then if then > 0 else None for then, now in pairs]


def measured(case: SanityCase) -> Numbers:
    """The column of ``efficient-randomisation``."""
    return {"entropy_rise": entropy_rise(case.pixels, case.in_pixels(case.randomly.heatmaps))}

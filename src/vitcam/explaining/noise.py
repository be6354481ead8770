"""How much of a sampled map is chance, and how many samples would be enough."""

from __future__ import annotations

import math
import warnings

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import VitcamWarning
from vitcam.explaining.explanation import Explanation

TOO_NOISY = 0.5
"""The share of a map's spread above which its standard error is too large for patches to be told apart."""


def noise(explanation: Explanation) -> Float[Tensor, "batch targets"] | None:
    """The standard error of each map as a share of its spread: √(mean of errors²) / standard deviation of values.

    At 1 the differences between patches are what chance alone would make; None of a method that draws no samples.

    Example:
        >>> noise(vitcam.explain(photo_model, photo)) is None
        True
    """
    if explanation.errors is None:
        return None
    spread = explanation.heatmaps.flatten(2).std(dim=2, correction=0)
    error = explanation.errors.flatten(2).square().mean(dim=2).sqrt()
    return (error / spread.clamp_min(1e-30)).masked_fill(error == 0, 0.0)


def budget_for(share: float, budget: int, wanted: float = TOO_NOISY) -> int | None:
    """About how many samples bring a map's noise from a share of its spread to another; None if that isn't known.

    The spread is made of what differs and of noise, whose square falls with the number of samples.

    Example:
        >>> budget_for(0.8, 1000)
        6000
        >>> budget_for(1.0, 1000) is None
        True
    """
    if share >= 0.99:
        return None
    factor = (share**2 / (1 - share**2)) / (wanted**2 / (1 - wanted**2))
    digits = float(10 ** int(math.log10(budget * factor)))
    return int(math.ceil(budget * factor / digits) * digits)


def warn_of_noise(explanation: Explanation, budget: int | None) -> None:
    """Warns of maps whose differences between patches are mostly chance, and says what would be enough."""
    shares = noise(explanation)
    if shares is None or not budget or float(shares.median()) <= TOO_NOISY:
        return
    share = float(shares.median())
    enough = budget_for(share, budget)
    advice = f"about budget={enough}" if enough else f"many times budget={budget}"
    warnings.warn(
        f"{explanation.method} needs more samples: the standard error of its maps is {share:.1f} of the spread of "
        f"their values, so that differences between patches are mostly chance. Give {advice}, or look at "
        "Explanation.errors",
        VitcamWarning,
        stacklevel=4,
    )

"""From samples to medians, quartiles and ratios. Pure arithmetic, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Spread:
    """Where the middle half of some samples lies.

    Attributes:
        low: the first quartile.
        median: the middle sample, or the mean of the two in the middle.
        high: the third quartile.
    """

    low: float
    median: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles; quartiles lie between samples as in numpy's ``percentile``.

    Example:
        >>> spread([1, 2, 3, 4, 10])
        Spread(low=2.0, median=3, high=4.0)
    """
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0])
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return Spread(low, median(samples), high)


def ratios(samples: Sequence[float], references: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Each round's time divided by the sum of the references' times in the same round.

    The machine's speed changes from minute to minute, but little within a round, so it cancels out. Where
    one of them ran in fewer rounds than the others, the later rounds are left out.

    Args:
        samples: one time per round, from the first round on.
        references: likewise, of each reference.

    Example:
        >>> ratios([3.0, 8.0], [[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]])
        (1.5, 2.0)
    """
    return tuple(own / sum(others) for own, *others in zip(samples, *references, strict=False))


def differences(samples: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    """Each round's time less another's in the same round.

    Example:
        >>> differences([3.0, 4.0], [1.0, 1.5])
        (2.0, 2.5)
    """
    return tuple(own - other for own, other in zip(samples, others, strict=False))


def per_image(samples: Mapping[str, Sequence[float]], images: Mapping[str, int]) -> dict[str, list[float]]:
    """Seconds per image.

    Example:
        >>> per_image({"forward": [4.0, 6.0]}, {"forward": 2})
        {'forward': [2.0, 3.0]}
    """
    return {name: [seconds / max(images[name], 1) for seconds in times] for name, times in samples.items()}

"""How sure a mean is: bootstrap intervals, and paired differences between methods."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from vitcam.errors import MetricError

RESAMPLES = 2000
LEVEL = 0.95

# Elements drawn at once, whatever the number of images.
_CHUNK = 2**22

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A mean and the interval it lies in; numbers for one metric, arrays (metrics,) for several."""

    mean: Float[np.ndarray, "*metrics"]
    low: Float[np.ndarray, "*metrics"]
    high: Float[np.ndarray, "*metrics"]

    def part(self, metrics: slice, shape: tuple[int, ...]) -> Interval:
        """That of some of the metrics, in another shape."""
        return Interval(*(ends[metrics].reshape(shape) for ends in (self.mean, self.low, self.high)))


@dataclass(frozen=True)
class Difference:
    """How much higher the first method scores on the same images.

    Attributes:
        interval: of the mean of first − second.
        p_value: how often chance alone gives a difference as large, in either direction.
    """

    interval: Interval
    p_value: Float[np.ndarray, "*metrics"]

    def part(self, metrics: slice, shape: tuple[int, ...]) -> Difference:
        """That of some of the metrics, in another shape."""
        return Difference(self.interval.part(metrics, shape), self.p_value[metrics].reshape(shape))


Drawn = TypeVar("Drawn", Interval, Difference)


@dataclass(frozen=True)
class Column:
    """Scores of one measure and method, numbers or curves, added up by unit: by image, or by group of images.

    Attributes:
        sums: of the scores of each unit.
        counts: how many scores each is the sum of.
        images: how many images these are of.
    """

    sums: Float[np.ndarray, units * points]
    counts: Float[np.ndarray, " units"]
    images: int


def bootstrap_interval(
    values: ArrayLike,
    images: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap interval of a mean.

    Images are drawn with replacement as often as there are images, each with all its scores: those of several
    classes in one photograph aren't independent. The interval holds the middle ``level`` of the means of
    ``resamples`` such draws. Several metrics share the draws, so give them together: it costs little more than
    one. Source: Efron and Tibshirani 1993, chapters 8 and 13.

    Args:
        values: (scores,) or (scores, metrics).
        images: (scores,), which image each score is of, as numbers; None if each is of an image of its own.
        resamples: how many draws.
        level: in 0..1.
        seed: of the draws.

    Raises:
        MetricError: there is no score, or one isn't finite.

    Example:
        >>> interval = bootstrap_interval([0.0, 1.0] * 50)
        >>> float(interval.mean), float(interval.low), float(interval.high)
        (0.5, 0.4, 0.6)
    """
    sums, counts = _by_image(_table(values), images)
    interval = interval_of_sums(sums, counts, resamples=resamples, level=level, seed=seed)
    return interval.part(slice(None), np.shape(values)[1:])


def interval_of_sums(
    sums: Float[np.ndarray, "units metrics"],
    counts: Float[np.ndarray, " units"],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """``bootstrap_interval`` of scores that are added up already.

    Args:
        sums: of the scores of each image, or of each of many random groups of images. With tens of thousands of
            groups, intervals are as wide as of images: both estimate the same variance of the mean (the method of
            random groups: Wolter 2007, chapter 2).
        counts: how many scores each is the sum of; at least one.
        resamples, level, seed: as for ``bootstrap_interval``.
    """
    count = len(sums)
    random = np.random.default_rng(seed)
    means = []
    for rows in _chunks(resamples, count):
        drawn = random.integers(0, count, (rows, count))
        drawn += count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(weights @ sums / (weights @ counts)[:, None])
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return Interval(sums.sum(axis=0) / counts.sum(), low, high)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    images: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """The mean difference between two methods on the same images, its interval, and a p-value.

    The p-value is that of the two-sided paired permutation test: if the methods were alike, every image's
    differences could as well have the other sign; p = (1 + number of random sign changes whose mean is at
    least as far from zero as the true one) / (1 + ``resamples``), so never below 1/(1 + resamples). Source:
    Fisher 1935; Phipson and Smyth 2010, arXiv 1603.05766, on the added ones.

    Args:
        first, second: (scores,) or (scores, metrics), of the same images in the same order.
        images: (scores,), which image each score is of, as numbers; None if each is of an image of its own.
        resamples: how many draws, for the interval and for the test.
        level: of the interval, in 0..1.
        seed: of the draws.

    Raises:
        MetricError: the shapes differ, there is no score, or one isn't finite.

    Example:
        >>> difference = paired_difference([0.5, 0.7, 0.9, 0.6], [0.4, 0.5, 0.8, 0.5])
        >>> round(float(difference.interval.mean), 3)
        0.125
    """
    if np.shape(first) != np.shape(second):
        raise MetricError(
            "expected the scores of two methods on the same images, "
            f"got {np.shape(first)} and {np.shape(second)}"
        )
    differences = np.subtract(_table(first), _table(second))
    difference = paired_difference_of_sums(
        *_by_image(differences, images), resamples=resamples, level=level, seed=seed
    )
    return difference.part(slice(None), np.shape(first)[1:])


def paired_difference_of_sums(
    sums: Float[np.ndarray, "units metrics"],
    counts: Float[np.ndarray, " units"],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """``paired_difference`` of differences that are added up already, as for ``interval_of_sums``.

    Args:
        sums: of the differences of each image, or of each of many random groups of images, whose sums would have the
            other sign as well as not if the methods were alike.
        counts: how many differences each is the sum of.
        resamples, level, seed: as for ``paired_difference``.
    """
    random = np.random.default_rng(seed)
    # Rounding must not make a sign change that gives the same sum look like a smaller one.
    observed = np.abs(sums.sum(axis=0)) - 1e-12 * np.abs(sums).sum(axis=0)
    as_far = np.zeros(sums.shape[1])
    for rows in _chunks(resamples, len(sums)):
        signs = random.integers(0, 2, (rows, len(sums)), dtype=np.int8) * 2.0 - 1.0
        as_far += (np.abs(signs @ sums) >= observed).sum(axis=0)
    interval = interval_of_sums(sums, counts, resamples=resamples, level=level, seed=seed)
    return Difference(interval, (1 + as_far) / (1 + resamples))


def intervals_of(columns: Mapping[Key, Column], *, seed: int = 0) -> dict[Key, Interval]:
    """The interval of every column's mean; none for a column without a score.

    Columns that have scores of the same images share their draws, which costs little more than one column.

    Args:
        columns: by whatever they are known by.
        seed: of the draws.

    Example:
        >>> column = Column(np.array([0.0, 1.0] * 50), np.ones(100), images=100)
        >>> intervals_of({"iou": column})["iou"].low
        array(0.4)
    """
    return _with_shared_draws(columns, lambda sums, counts: interval_of_sums(sums, counts, seed=seed))


def differences_of(columns: Mapping[Key, Column]) -> dict[Key, Difference]:
    """``intervals_of``, and the p-values, of columns of paired differences."""
    return _with_shared_draws(columns, paired_difference_of_sums)


def _with_shared_draws(
    columns: Mapping[Key, Column],
    statistic: Callable[[Float[np.ndarray, "units metrics"], Float[np.ndarray, " units"]], Drawn],
) -> dict[Key, Drawn]:
    same_images: dict[bytes, list[Key]] = {}
    for key, column in columns.items():
        if column.counts.any():
            same_images.setdefault(column.counts.tobytes(), []).append(key)
    results: dict[Key, Drawn] = {}
    for keys in same_images.values():
        counts = columns[keys[0]].counts
        present = counts > 0
        tables = [columns[key].sums[present].reshape(int(present.sum()), -1) for key in keys]
        drawn = statistic(np.concatenate(tables, axis=1), counts[present])
        start = 0
        for key, table in zip(keys, tables, strict=True):
            end = start + table.shape[1]
            results[key] = drawn.part(slice(start, end), columns[key].sums.shape[1:])
            start = end
    return {key: results[key] for key in columns if key in results}


def _by_image(
    table: Float[np.ndarray, "scores metrics"], images: ArrayLike | None
) -> tuple[Float[np.ndarray, "images metrics"], Float[np.ndarray, " images"]]:
    """The sum of each image's scores, and how many it has."""
    if images is None:
        return table, np.ones(len(table))
    if np.shape(images) != (len(table),):
        raise MetricError(f"expected an image for each of {len(table)} scores, got {np.shape(images)}")
    _, place, counts = np.unique(images, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), table.shape[1]))
    np.add.at(sums, place, table)
    return sums, counts.astype(np.float64)


def _table(values: ArrayLike) -> Float[np.ndarray, "scores metrics"]:
    table = np.asarray(values, dtype=np.float64)
    if not table.size:
        raise MetricError("expected the scores of at least one image, got none")
    if not np.isfinite(table).all():
        raise MetricError(
            f"expected finite scores, but {np.count_nonzero(~np.isfinite(table))} of {table.size} are NaN or "
            "infinite: leave out the images on which a metric isn't defined"
        )
    return table.reshape(len(table), -1)


def _chunks(resamples: int, images: int) -> list[int]:
    """How many resamples to draw at once, time after time."""
    rows = max(1, _CHUNK // images)
    return [min(rows, resamples - first) for first in range(0, resamples, rows)]

"""Numbers of all images together, MaxBoxAcc and PxAP, as means over images.

Each depends on what only all images together have: a best threshold, the precision at every threshold. With that held
fixed it is the mean of a number that each image has of its own, so that sums suffice for it, and intervals and paired
tests hold for what is fixed. What they are called is declared in ``measures``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Together:
    """A number of all images together.

    Attributes:
        curves: the columns that it is made from.
        points: from these curves, (rows, thresholds) each, what is added up: (rows, points); not finite where they
            aren't.
        weights: from the means of the points over all rows, how much each point counts. The number is the weighted
            sum of the means, or the mean of the rows' weighted sums. NaN where it isn't defined.
    """

    curves: tuple[str, ...]
    points: Callable[..., Array]
    weights: Callable[[Float[np.ndarray, " points"]], Float[np.ndarray, " points"]]

    def number(self, means: Float[np.ndarray, " points"]) -> float:
        """The number itself, from the means of the points."""
        return float(means @ self.weights(means))

    def of(self, *curves: Float[np.ndarray, "rows thresholds"]) -> float:
        """The number itself, from the curves of all rows."""
        points = self.points(*curves)
        return self.number(points[np.isfinite(points).all(axis=1)].mean(axis=0))


def best_threshold(curve: str, *required: float) -> Together:
    """How often an IoU is at least the required one, at the best threshold; the mean over the required ones."""

    def points(ious: Array) -> Array:
        finite = np.isfinite(ious).all(axis=1, keepdims=True)
        return np.concatenate([np.where(finite, ious >= least, np.nan) for least in required], axis=1)

    def weights(means: Array) -> Array:
        rates = means.reshape(len(required), -1)
        chosen = np.zeros_like(rates)
        chosen[np.arange(len(required)), rates.argmax(axis=1)] = 1 / len(required)
        return chosen.ravel()

    return Together((curve,), points, weights)


def _average_precision() -> Together:
    """Σ_l precision(τ_l)·(hits(τ_l) − hits(τ_{l−1})) / hits(0), thresholds τ descending to 0.

    Sorted by hits(τ_l), each of which so counts precision(τ_l) − precision(τ_{l+1}).
    """

    def points(hits: Array, predicted: Array) -> Array:
        return np.concatenate([hits, predicted], axis=1)

    def weights(means: Array) -> Array:
        hits, predicted = np.split(means, 2)
        precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
        falls = -np.diff(precision, append=0.0)
        return np.concatenate([falls, np.zeros_like(falls)]) / (hits[-1] or np.nan)

    return Together(("pixel_hits_curve", "pixel_predicted_curve"), points, weights)


MAX_BOX_ACCURACY = best_threshold("largest_box_iou_curve", 0.5)
MAX_BOX_ACCURACY_V2 = best_threshold("best_box_iou_curve", 0.3, 0.5, 0.7)
PXAP = _average_precision()


def _two_class_ratio(of: str) -> Together:
    """A ratio of sums over all rows, or the mean of two: ΣI_c / ΣU_c of background and object, or right pixels of
    all.

    It isn't linear in the sums. What is added up is its first-order expansion around the means of all rows,
    r + (a − r·b)/mean(b) for a ratio r of a to b, whose mean is the ratio itself: intervals and tests are those of
    the delta method, with both sums drawn.
    """

    def points(counts: Array) -> Array:
        inter, union, pixels = counts[:, :2], counts[:, 2:4], counts[:, 4:]
        parts = (inter, union) if of == "iou" else (inter.sum(axis=1, keepdims=True), pixels)
        return np.concatenate([*parts, np.where(np.isfinite(pixels), 1.0, np.nan)], axis=1)

    def weights(means: Array) -> Array:
        above, below = np.split(means[:-1], 2)
        present = np.where(below > 0, below, 1.0)
        ratios, share = np.where(below > 0, above / present, 0.0), 1 / len(below)
        return np.concatenate([share / present, -share * ratios / present, [ratios.mean()]])

    return Together(("segmentation_counts",), points, weights)


SEGMENTATION_MIOU = _two_class_ratio("iou")
SEGMENTATION_ACCURACY = _two_class_ratio("pixels")

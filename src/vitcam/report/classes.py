"""On which classes the reference and each other method differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Number
from vitcam.evaluation.statistics import bootstrap_interval
from vitcam.report.run import Run
from vitcam.report.scores import Scores
from vitcam.report.tables import Estimate

FEWEST = 5
"""Images that a class must have to be listed."""

SHOWN = 6
"""Classes that are listed."""


@dataclass(frozen=True)
class ClassDifference:
    """The reference minus another method, on the images of one class."""

    name: str
    estimate: Estimate


@dataclass(frozen=True)
class ClassCard:
    """The classes on which the reference and another method of a run differ most."""

    run: str
    other: str
    differences: tuple[ClassDifference, ...]


def by_class(scores: Sequence[tuple[Run, Scores]], measure: Number, reference: str) -> list[ClassCard]:
    """A card per method that has classes to compare.

    Args:
        scores: of a task, run by run.
        measure: what is compared.
        reference: minus each other method.
    """
    return [
        ClassCard(run.name, other, tuple(differences))
        for run, of_run in scores
        if reference in of_run.methods and measure.key in of_run.numbers
        for other in of_run.methods
        if other != reference and (differences := class_differences(of_run, measure.key, reference, other))
    ]


def class_differences(scores: Scores, key: str, reference: str, other: str) -> list[ClassDifference]:
    """The classes on which two methods differ most, those where the reference scores highest first.

    Args:
        scores: of a task.
        key: the number that is compared.
        reference, other: methods.

    Returns:
        At most ``SHOWN`` classes of at least ``FEWEST`` images. Chosen for their extremes, these differences
        are larger than they would be on new images.
    """
    places = [scores.methods.index(name) for name in (reference, other)]
    difference = scores.numbers[key][:, places[0]] - scores.numbers[key][:, places[1]]
    targets = scores.units["target"].to_numpy()
    present = np.isfinite(difference)
    kept, first, place, counts = np.unique(
        targets[present], return_index=True, return_inverse=True, return_counts=True
    )
    names = scores.units["class_name"].filter(pl.Series(present)).gather(first)
    means = np.bincount(place, difference[present], len(kept)) / np.maximum(counts, 1)
    largest = sorted(np.flatnonzero(counts >= FEWEST), key=lambda i: -abs(means[i]))[:SHOWN]
    listed = sorted(largest, key=lambda i: -means[i])
    return [
        ClassDifference(
            names[i] or f"class {kept[i]}", _estimate(difference, scores.images, targets == kept[i])
        )
        for i in map(int, listed)
    ]


def _estimate(
    difference: Float[np.ndarray, " units"],
    images: Int[np.ndarray, " units"],
    of_class: Bool[np.ndarray, " units"],
) -> Estimate:
    chosen = of_class & np.isfinite(difference)
    interval = bootstrap_interval(difference[chosen], images[chosen])
    count = len(np.unique(images[chosen]))
    return Estimate(float(interval.mean), float(interval.low), float(interval.high), count)

"""On which classes two methods differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitcam.report.scores import Scores
from vitcam.report.tables import Estimate, estimates

FEWEST = 5
"""Images that a class must have to be listed."""

SHOWN = 6
"""Classes that are listed."""


@dataclass(frozen=True)
class ClassDifference:
    """The reference minus another method, on the images of one class."""

    name: str
    estimate: Estimate


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
    names = dict(zip(targets.tolist(), scores.units["class_name"], strict=True))
    present = np.isfinite(difference)
    kept, counts = np.unique(targets[present], return_counts=True)
    by_class = {int(target): difference[present & (targets == target)] for target in kept[counts >= FEWEST]}
    largest = sorted(by_class, key=lambda target: -abs(by_class[target].mean()))[:SHOWN]
    listed = sorted(largest, key=lambda target: -by_class[target].mean())
    columns = {target: np.where(targets == target, difference, np.nan) for target in listed}
    return [
        ClassDifference(names[target] or f"class {target}", estimate)
        for target, estimate in estimates(columns, scores.images).items()
    ]

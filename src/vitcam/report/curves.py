"""Mean curves over explanations, by method: what is drawn against thresholds and fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vitcam.evaluation.rows import Task
from vitcam.evaluation.statistics import interval_of_sums
from vitcam.report.drawn import Axis
from vitcam.report.run import Run
from vitcam.report.scores import read_sums


@dataclass(frozen=True)
class MeanCurve:
    """The mean of a curve over explanations, with its bootstrap 95 % interval at every point."""

    x: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


def mean_curves(run: Run, task: Task, key: str, axis: Axis) -> dict[str, MeanCurve]:
    """The mean curve of every method that has one.

    Args:
        run: whose rows.
        task: which rows.
        key: their column.
        axis: what the points are.

    Raises:
        ReportError: the curves have different lengths.
    """
    sums = read_sums(run, task).sums
    if key not in sums.curves:
        return {}
    counts, curves = sums.counts[key], sums.curves[key]
    groups: dict[bytes, list[int]] = {}
    for i in range(len(sums.methods)):
        if counts[:, i].any():
            groups.setdefault(counts[:, i].tobytes(), []).append(i)
    found: dict[str, MeanCurve] = {}
    # curves of the same images are drawn together, which costs little more than one
    for methods in groups.values():
        present = counts[:, methods[0]] > 0
        together = curves[present][:, methods]
        interval = interval_of_sums(together.reshape(len(together), -1), counts[present, methods[0]])
        x = _places(run.settings, axis, together.shape[2])
        parts = (of.reshape(len(methods), -1) for of in (interval.mean, interval.low, interval.high))
        ends = zip(methods, *parts, strict=True)
        found |= {sums.methods[i]: MeanCurve(x, mean, low, high) for i, mean, low, high in ends}
    return {name: found[name] for name in sums.methods if name in found}


def _places(settings: Mapping[str, Any], axis: Axis, points: int) -> Float[np.ndarray, " points"]:
    """Where the points stand: as the run says, or in even steps between (ROAD) the ends, which it leaves out."""
    stored = settings.get(axis, ())
    if len(stored) == points:
        return np.asarray(stored, dtype=np.float64)
    return np.arange(1, points + 1) / (points + 1)

"""Mean curves over explanations, by method: what is drawn against thresholds and fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vitcam.evaluation.measure import Axis, Task
from vitcam.evaluation.measures import measures_of
from vitcam.evaluation.statistics import intervals_of
from vitcam.report.run import Run
from vitcam.report.scores import read_sums


@dataclass(frozen=True)
class Plot:
    """Curves that belong together.

    Attributes:
        title: of the whole.
        panels: a column of the rows and its title, for each pair of axes; they share the vertical one.
        axis: what runs to the right, as ``run.json`` calls it.
        x_title, y_title: of the axes.
    """

    title: str
    panels: tuple[tuple[str, str], ...]
    axis: Axis
    x_title: str
    y_title: str


def plots_of(task: Task) -> list[Plot]:
    """What the declarations of a task's measures say is drawn."""
    plots: dict[str, Plot] = {}
    for curve in (curve for measure in measures_of(task) for curve in measure.curves if curve.plot):
        before = plots[curve.plot].panels if curve.plot in plots else ()
        panels = (*before, (curve.key, curve.panel))
        plots[curve.plot] = Plot(curve.plot, panels, curve.axis, curve.axis_title, curve.unit)
    return list(plots.values())


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
    columns = {name: sums.column(key, i) for i, name in enumerate(sums.methods)}
    x = _places(run.settings, axis, sums.curves[key].shape[2])
    return {
        name: MeanCurve(x, interval.mean, interval.low, interval.high)
        for name, interval in intervals_of(columns).items()
    }


def _places(settings: Mapping[str, Any], axis: Axis, points: int) -> Float[np.ndarray, " points"]:
    """Where the points stand: as the run says; or in even steps, to the end (depth), or between the ends (ROAD)."""
    if axis == "depth":
        return np.arange(1, points + 1) / points
    stored = settings.get(axis, ())
    if len(stored) == points:
        return np.asarray(stored, dtype=np.float64)
    return np.arange(1, points + 1) / (points + 1)

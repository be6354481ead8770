"""Mean curves over explanations, by method: what is drawn against thresholds and fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from vitcam.evaluation.rows import Task
from vitcam.evaluation.statistics import bootstrap_interval
from vitcam.report.run import Run
from vitcam.report.scores import read_curves

Axis = Literal["thresholds", "fractions"]


@dataclass(frozen=True)
class MeanCurve:
    """The mean of a curve over explanations, with its bootstrap 95 % interval at every point."""

    x: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


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


def _removal(title: str, lerf: str, morf: str, lerf_title: str, morf_title: str, x_title: str) -> Plot:
    panels = ((morf, morf_title), (lerf, lerf_title))
    return Plot(title, panels, "fractions", x_title, "Probability of the class")


_MORF, _LERF = (
    "MoRF: most important first (lower is better)",
    "LeRF: least important first (higher is better)",
)
_DELETION, _INSERTION = "Deletion (lower is better)", "Insertion (higher is better)"

PLOTS: dict[Task, tuple[Plot, ...]] = {
    "localization": (
        Plot(
            "IoU against threshold",
            (
                ("iou_curve", "With boxes (higher is better)"),
                ("mask_iou_curve", "With masks (higher is better)"),
            ),
            "thresholds",
            "Threshold",
            "IoU",
        ),
    ),
    "perturbation": (
        _removal("MoRF and LeRF", "lerf", "morf", _LERF, _MORF, "Fraction of pixels removed"),
        _removal(
            "Insertion and deletion, blurred",
            "insertion_blur",
            "deletion_blur",
            _INSERTION,
            _DELETION,
            "Fraction of pixels changed",
        ),
        _removal(
            "Insertion and deletion, mean colour",
            "insertion_mean",
            "deletion_mean",
            _INSERTION,
            _DELETION,
            "Fraction of pixels changed",
        ),
        _removal("ROAD", "road_lerf", "road_morf", _LERF, _MORF, "Fraction of pixels removed"),
        _removal("Token dropping", "token_lerf", "token_morf", _LERF, _MORF, "Fraction of patches removed"),
    ),
}


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
    curves = read_curves(run, task, key)
    groups: dict[tuple[int, bytes], list[str]] = {}
    for name, (points, images) in curves.items():
        groups.setdefault((points.shape[1], images.tobytes()), []).append(name)
    found: dict[str, MeanCurve] = {}
    # curves of the same images are drawn together, which costs little more than one
    for methods in groups.values():
        together = np.stack([curves[name][0] for name in methods], axis=1)
        interval = bootstrap_interval(together, curves[methods[0]][1])
        x = _places(run.settings, axis, together.shape[2])
        ends = zip(methods, interval.mean, interval.low, interval.high, strict=True)
        found |= {name: MeanCurve(x, mean, low, high) for name, mean, low, high in ends}
    return {name: found[name] for name in curves}


def _places(settings: Mapping[str, Any], axis: Axis, points: int) -> Float[np.ndarray, " points"]:
    """Where the points stand: as the run says, or in even steps between (ROAD) the ends, which it leaves out."""
    stored = settings.get(axis, ())
    if len(stored) == points:
        return np.asarray(stored, dtype=np.float64)
    return np.arange(1, points + 1) / (points + 1)

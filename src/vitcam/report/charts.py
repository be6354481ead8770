"""Plots of mean curves: line charts as SVG that takes the page's colours and font, and the numbers below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitcam.evaluation.measure import Task
from vitcam.report.curves import MeanCurve, Plot, mean_curves, plots_of
from vitcam.report.run import Run

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 46
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)


@dataclass(frozen=True)
class ChartLine:
    """A curve: its name, its points as SVG has them, and the outline of its interval where that is drawn."""

    name: str
    points: str
    band: str


@dataclass(frozen=True)
class Chart:
    """Curves between two axes, in pixels of a picture of ``WIDTH`` × ``HEIGHT``.

    Attributes:
        x_labels, y_labels: places on the axes, and what stands there.
        lines: those drawn last lie on top.
    """

    x_labels: tuple[tuple[float, str], ...]
    y_labels: tuple[tuple[float, str], ...]
    lines: tuple[ChartLine, ...]


@dataclass(frozen=True)
class Panel:
    """One of a plot's pairs of axes: its title, the chart, and the curves that it is of."""

    title: str
    chart: Chart
    curves: Mapping[str, MeanCurve]


@dataclass(frozen=True)
class PlotFigure:
    """A plot of a run.

    Attributes:
        title: with the run's name, if there are several.
        plot: what is drawn.
        panels: side by side.
        methods: those that have a curve.
    """

    title: str
    plot: Plot
    panels: tuple[Panel, ...]
    methods: tuple[str, ...]


def plot_figures(task: Task, runs: Sequence[Run], reference: str) -> list[PlotFigure]:
    """Every plot of a task that a run has curves for.

    Args:
        task: whose.
        runs: side by side.
        reference: the method whose interval is drawn; the others' would hide each other.

    Raises:
        ReportError: a run's curves have different lengths.
    """
    figures = []
    for plot in plots_of(task):
        for run in runs:
            every = {title: mean_curves(run, task, key, plot.axis) for key, title in plot.panels}
            drawn = {title: curves for title, curves in every.items() if curves}
            if not drawn:
                continue
            highest = max(
                (curve.high if name == reference else curve.mean).max()
                for curves in drawn.values()
                for name, curve in curves.items()
            )
            panels = tuple(
                Panel(title, line_chart(curves, (0.0, float(highest)), reference), curves)
                for title, curves in drawn.items()
            )
            title = f"{plot.title}, {run.name}" if len(runs) > 1 else plot.title
            methods = tuple(dict.fromkeys(name for curves in drawn.values() for name in curves))
            figures.append(PlotFigure(title, plot, panels, methods))
    return figures


def line_chart(curves: Mapping[str, MeanCurve], y_range: tuple[float, float], banded: str) -> Chart:
    """Mean curves over 0..1.

    Args:
        curves: by name.
        y_range: of the vertical axis.
        banded: the curve whose interval is drawn; it lies on top.
    """
    y_ticks = ticks(*y_range)
    lowest, highest = y_ticks[0], y_ticks[-1]

    def x_of(value: float) -> float:
        return round(LEFT + float(value) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        share = (float(value) - lowest) / (highest - lowest)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def points(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{x_of(a)},{y_of(b)}" for a, b in zip(x, y, strict=True))

    def line(name: str, curve: MeanCurve) -> ChartLine:
        outline = f"{points(curve.x, curve.low)} {points(curve.x[::-1], curve.high[::-1])}"
        return ChartLine(name, points(curve.x, curve.mean), outline if name == banded else "")

    return Chart(
        tuple((x_of(x), f"{x:.1f}") for x in np.arange(0, 1.01, 0.2)),
        tuple((y_of(y), f"{y:.2f}".replace("-", "−")) for y in y_ticks),
        tuple(line(name, curves[name]) for name in sorted(curves, key=lambda name: name == banded)),
    )


def ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers around a range, at most six of them.

    Example:
        >>> ticks(0.12, 0.71)
        [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    for step in _STEPS:
        first, last = np.floor(lowest / step + 1e-9), np.ceil(highest / step - 1e-9)
        if last - first <= 5:
            break
    last = max(last, first + 1)
    return [round(float(i * step), 10) for i in np.arange(first, last + 1)]

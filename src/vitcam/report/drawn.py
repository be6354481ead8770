"""Which of a run's curves are drawn, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitcam.evaluation.rows import Task

Axis = Literal["thresholds", "fractions"]


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

DRAWN: dict[Task, frozenset[str]] = {
    task: frozenset(key for plot in plots for key, _ in plot.panels) for task, plots in PLOTS.items()
}
"""The columns that are drawn."""

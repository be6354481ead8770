"""From rows to what is said about each method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from vitcam.evaluation.frames import pl
from vitcam.evaluation.metrics.max_box_accuracy import max_box_accuracy, max_box_accuracy_v2
from vitcam.evaluation.rows import COLUMNS, Task
from vitcam.evaluation.statistics import bootstrap_interval

_WHOLE_DATASET = {
    "max_box_accuracy": ("largest_box_iou_curve", max_box_accuracy),
    "max_box_accuracy_v2": ("best_box_iou_curve", max_box_accuracy_v2),
}
"""Numbers of all images together, from the rows' curves; they have no mean over images, so no interval."""


def summarize(
    rows: pl.DataFrame, tasks: Sequence[Task], methods: Sequence[str], unmatched: int, seed: int
) -> dict[str, Any]:
    """What ``summary.json`` holds.

    Args:
        rows: of the whole run, sorted.
        tasks, methods: in the order in which they are to stand.
        unmatched: photographs that were left out because the model doesn't know their class.
        seed: of the bootstrap.

    Returns:
        By task and method: how many ``images`` were scored, were ``skipped_wrong`` (localization leaves wrong
        predictions out), ``unreadable`` (with an error in their row) and ``unmatched``; the mean of every
        number, point by point for curves; and under ``intervals`` the bootstrap 95 % interval [low, high] of
        every mean. Fractions 0..1; a number that no image has is left out.
    """
    return {
        task: {
            method: _of_method(
                rows.filter((pl.col("task") == task) & (pl.col("method") == method)),
                task,
                unreadable=rows.filter((pl.col("task") == task) & pl.col("method").is_null()).height,
                unmatched=unmatched,
                seed=seed,
            )
            for method in methods
        }
        for task in tasks
    }


def problems(rows: pl.DataFrame, at_most: int = 5) -> list[str]:
    """What is wrong with the photographs that were left out, one sentence each, and how many more there are."""
    errors = rows["error"].drop_nulls().unique(maintain_order=True).to_list()
    more = len(errors) - at_most
    return errors[:at_most] + ([f"… and {more} more, in the rows' column `error`"] if more > 0 else [])


def _of_method(
    rows: pl.DataFrame, task: Task, *, unreadable: int, unmatched: int, seed: int
) -> dict[str, Any]:
    scored = rows.filter(pl.col("correct")) if task == "localization" else rows
    counts = {
        "images": scored["image"].n_unique(),
        "skipped_wrong": rows.height - scored.height,
        "unreadable": unreadable,
        "unmatched": unmatched,
    }
    names = [name for name in scored.columns if name not in COLUMNS]
    present = {name: _values(scored[name]) for name in names}
    present = {name: values for name, values in present.items() if len(values)}
    means = {name: values.mean(axis=0).tolist() for name, values in present.items()}
    together = {
        name: accuracy(torch.from_numpy(present[curve]))
        for name, (curve, accuracy) in _WHOLE_DATASET.items()
        if curve in present
    }
    scalars = {name: values for name, values in present.items() if values.ndim == 1}
    return {**counts, **means, **together, "intervals": _intervals(scalars, seed)}


def _values(column: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of the rows that have one: (rows,), or (rows, points) for curves."""
    if isinstance(column.dtype, pl.List):
        return np.array(column.drop_nulls().to_list(), dtype=np.float64)
    return np.asarray(column.cast(pl.Float64).fill_nan(None).drop_nulls(), dtype=np.float64)


def _intervals(scalars: dict[str, Any], seed: int) -> dict[str, list[float]]:
    """Numbers that equally many images have are drawn together, which costs little more than one."""
    intervals: dict[str, list[float]] = {}
    for length in dict.fromkeys(map(len, scalars.values())):
        names = [name for name, values in scalars.items() if len(values) == length]
        interval = bootstrap_interval(_side_by_side(scalars[name] for name in names), seed=seed)
        for name, low, high in zip(names, interval.low, interval.high, strict=True):
            intervals[name] = [float(low), float(high)]
    return {name: intervals[name] for name in scalars}


def _side_by_side(columns: Iterable[Any]) -> Any:
    return np.stack(list(columns), axis=1)

"""From rows to what is said about each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vitcam.evaluation.frames import pl
from vitcam.evaluation.metrics.max_box_accuracy import max_box_accuracy, max_box_accuracy_v2
from vitcam.evaluation.metrics.pixel_precision import pooled_average_precision
from vitcam.evaluation.rows import COLUMNS, Task
from vitcam.evaluation.statistics import bootstrap_interval

Values = np.ndarray[Any, np.dtype[Any]]

_WHOLE_DATASET: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "max_box_accuracy": (("largest_box_iou_curve",), max_box_accuracy),
    "max_box_accuracy_v2": (("best_box_iou_curve",), max_box_accuracy_v2),
    "pxap": (("pixel_hits_curve", "pixel_predicted_curve"), pooled_average_precision),
}
"""Numbers of all images together, from the rows' curves; they are no mean over images, so they have no interval."""


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
    absent = {name: _absent(scored[name]) for name in names}
    present = {name: _values(scored[name].filter(~absent[name])) for name in names if not absent[name].all()}
    means = {name: values.mean(axis=0).tolist() for name, values in present.items()}
    together = {
        name: accuracy(*(torch.from_numpy(present[curve]) for curve in curves))
        for name, (curves, accuracy) in _WHOLE_DATASET.items()
        if all(curve in present for curve in curves)
    }
    images = scored["image"].rank("dense").to_numpy()
    numbers = {
        name: (values, images[~absent[name].to_numpy()])
        for name, values in present.items()
        if values.ndim == 1
    }
    return {**counts, **means, **together, "intervals": _intervals(numbers, seed)}


def _absent(column: pl.Series) -> pl.Series:
    """Which rows have no such number, or not all points of such a curve (those of low precision may overflow)."""
    if isinstance(column.dtype, pl.List):
        finite = column.list.eval(pl.element().is_finite()).list.all()
    else:
        finite = column.cast(pl.Float64).is_finite()
    absent: pl.Series = ~finite.fill_null(False)
    return absent


def _values(column: pl.Series) -> Values:
    """(rows,), or (rows, points) for curves."""
    return np.array(column.to_list(), dtype=np.float64)


def _intervals(numbers: Mapping[str, tuple[Values, Values]], seed: int) -> dict[str, list[float]]:
    """Numbers of the same images are drawn together, which costs little more than one.

    Args:
        numbers: with the image that each value is of.
        seed: of the draws.
    """
    groups: dict[bytes, list[str]] = {}
    for name, (_, images) in numbers.items():
        groups.setdefault(images.tobytes(), []).append(name)
    intervals: dict[str, list[float]] = {}
    for names in groups.values():
        table = np.stack([numbers[name][0] for name in names], axis=1)
        interval = bootstrap_interval(table, numbers[names[0]][1], seed=seed)
        for name, low, high in zip(names, interval.low, interval.high, strict=True):
            intervals[name] = [float(low), float(high)]
    return {name: intervals[name] for name in numbers}

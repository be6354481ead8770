"""From rows to what is said about each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitcam.evaluation.columns import numbers_together
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Task
from vitcam.evaluation.measures import measures_of
from vitcam.evaluation.rows import ORACLE
from vitcam.evaluation.statistics import intervals_of
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.sums import Sums, sum_up
from vitcam.evaluation.unmoved import unmoved_sentences


def summarize(
    rows: StoredRows, tasks: Sequence[Task], methods: Sequence[str], unmatched: int, seed: int
) -> dict[str, Any]:
    """What ``summary.json`` holds.

    Args:
        rows: of the whole run; they are read a part at a time.
        tasks, methods: in the order in which they are to stand.
        unmatched: photographs that were left out because the model doesn't know their class.
        seed: of the bootstrap.

    Returns:
        By task and method: how many ``images`` were scored, were ``skipped_wrong`` (localization leaves wrong
        predictions out), ``unreadable`` (with an error in their row) and ``unmatched``; the mean of every
        number, point by point for curves; and under ``intervals`` the bootstrap 95 % interval [low, high] of
        every mean, which numbers of all images together (``numbers_together``) are not. Fractions 0..1; a number
        that no image has is left out.

    Raises:
        RunError: a file of rows is damaged.
    """
    return {task: _of_task(rows, task, tuple(methods), unmatched, seed) for task in tasks}


def problems(rows: StoredRows, at_most: int = 5) -> list[str]:
    """What is wrong with the photographs that were left out, one sentence each, and how many more there are."""
    errors = rows.images["error"].drop_nulls().unique(maintain_order=True)
    more = len(errors) - at_most
    return errors[:at_most].to_list() + (
        [f"… and {more} more, in the rows' column `error`"] if more > 0 else []
    )


def unmoved_of(task: Task, methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which methods' maps stay the same where they should change, in a sentence each.

    Args:
        task: whose summary.
        methods: its numbers by method, as ``summarize`` gives them.
    """
    return unmoved_sentences(
        [
            (number, by_method)
            for measure in measures_of(task)
            for number in measure.numbers
            if (by_method := {name: of[number.key] for name, of in methods.items() if number.key in of})
        ]
    )


def _of_task(
    rows: StoredRows, task: Task, methods: tuple[str, ...], unmatched: int, seed: int
) -> dict[str, Any]:
    sums = sum_up(rows, task, methods)
    images = rows.of(task)
    scored = images.filter("scored")
    counts = {
        "skipped_wrong": scored.filter(~pl.col("correct")).height if task == "localization" else 0,
        "unreadable": images.height - scored.height,
        "unmatched": unmatched,
    }
    intervals = _intervals(sums, seed)
    return {
        method: {
            "images": int(sums.images[i]),
            **counts,
            **_means(sums, i),
            "intervals": intervals[i],
        }
        for i, method in enumerate(methods)
        if method != ORACLE or sums.images[i]  # it has no rows where nothing is known of the photographs
    }


def _means(sums: Sums, method: int) -> dict[str, Any]:
    means: dict[str, Any] = {}
    together: dict[str, float] = {}
    for key, counts in sums.counts.items():
        count = counts[:, method].sum()
        if not count:
            continue
        if key in sums.numbers:
            means[key] = float(sums.numbers[key][:, method].sum() / count)
            continue
        curve = sums.curve_means(key)[method]
        if key in numbers_together():
            together[key] = numbers_together()[key].number(curve)
        else:
            means[key] = curve.tolist()
    return {**means, **{key: number for key, number in together.items() if np.isfinite(number)}}


def _intervals(sums: Sums, seed: int) -> list[dict[str, list[float]]]:
    """Of every method."""
    methods = range(len(sums.methods))
    columns = {(key, method): sums.column(key, method) for method in methods for key in sums.numbers}
    by_method: list[dict[str, list[float]]] = [{} for _ in methods]
    for (key, method), interval in intervals_of(columns, seed=seed).items():
        by_method[method][key] = [float(interval.low), float(interval.high)]
    return by_method

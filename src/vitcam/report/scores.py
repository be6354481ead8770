"""From rows to arrays: a task's numbers by image and method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitcam.evaluation.frames import pl
from vitcam.evaluation.rows import COLUMNS, Task
from vitcam.report.errors import ReportError
from vitcam.report.run import Run, scored_rows

Points = Float[np.ndarray, "images points"]


@dataclass(frozen=True)
class Scores:
    """A task's numbers.

    Attributes:
        units: what was scored, in the order of the arrays: columns ``image``, ``target`` and ``class_name``.
        methods: those that have rows.
        numbers: by column, NaN where an image has no such number.
    """

    units: pl.DataFrame
    methods: tuple[str, ...]
    numbers: dict[str, Float[np.ndarray, "units methods"]]

    @property
    def images(self) -> Int[np.ndarray, " units"]:
        """Which image each unit is of, as a number."""
        return numbered(self.units["image"])


def read_scores(run: Run, task: Task) -> Scores:
    """A task's numbers, among them those that are made from the rows' curves.

    Raises:
        ReportError: curves have different lengths.
    """
    rows = _rows_of(run, task)
    units = rows.select("image", "target", "class_name").unique(["image", "target"], maintain_order=True)
    if rows.is_empty():
        return Scores(units, (), {})
    methods = tuple(name for name in run.methods if name in set(rows["method"]))
    where = rows.join(units.with_row_index("unit"), on=["image", "target"], maintain_order="left")[
        "unit"
    ].to_numpy()
    which = rows["method"].replace_strict(methods, range(len(methods)), return_dtype=pl.Int64).to_numpy()
    numbers = {}
    for key, values in _numbers(rows, methods).items():
        table = np.full((units.height, len(methods)), np.nan)
        table[where, which] = np.where(np.isfinite(values), values, np.nan)
        if not np.isnan(table).all():
            numbers[key] = table
    return Scores(units, methods, numbers)


def read_curves(run: Run, task: Task, key: str) -> dict[str, tuple[Points, Int[np.ndarray, " images"]]]:
    """By method, a curve of every row that has it, and which image each is of.

    Raises:
        ReportError: they have different lengths.
    """
    rows = _rows_of(run, task)
    if not isinstance(rows.schema.get(key), pl.List):
        return {}
    found = {}
    for name in run.methods:
        own = rows.filter(pl.col("method") == name, pl.col(key).is_not_null())
        if own.height:
            points = _points(own[key])
            finite = np.isfinite(points).all(axis=1)
            if finite.any():
                found[name] = points[finite], numbered(own["image"])[finite]
    return found


def numbered(images: pl.Series) -> Int[np.ndarray, " units"]:
    """A number for each image, in their order."""
    return np.asarray(images.rank("dense"), dtype=np.int64)


def _rows_of(run: Run, task: Task) -> pl.DataFrame:
    return scored_rows(run.rows.filter(pl.col("task") == task), task)


def _numbers(rows: pl.DataFrame, methods: tuple[str, ...]) -> dict[str, Float[np.ndarray, " rows"]]:
    plain = [name for name, kind in rows.schema.items() if kind.is_numeric() and name not in COLUMNS]
    numbers = {name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in plain}
    for name, (curves, number) in _OF_ALL_TOGETHER.items():
        if all(isinstance(rows.schema.get(curve), pl.List) for curve in curves):
            numbers[name] = _of_curves(rows, curves, methods, number)
    return numbers


def _of_curves(
    rows: pl.DataFrame,
    keys: tuple[str, ...],
    methods: tuple[str, ...],
    number: Callable[..., Float[np.ndarray, " images"]],
) -> Float[np.ndarray, " rows"]:
    numbers = np.full(rows.height, np.nan)
    present = np.all([rows[key].is_not_null().to_numpy() for key in keys], axis=0)
    for method in methods:
        own = present & (rows["method"] == method).to_numpy()
        if own.any():
            numbers[own] = number(*(_points(rows[key].filter(pl.Series(own))) for key in keys))
    return numbers


def _points(curves: pl.Series) -> Points:
    lengths = curves.list.len().unique().to_list()
    if len(lengths) != 1:
        raise ReportError(
            f"the curves in {curves.name} have {', '.join(map(str, sorted(lengths)))} points: expected as many "
            "in every row of a run"
        )
    points: Points = curves.explode().cast(pl.Float64).to_numpy().reshape(len(curves), lengths[0])
    return points


def _hits(ious: Points, required: float) -> Float[np.ndarray, " images"]:
    """Which images have the required IoU at the one threshold at which most have."""
    reached = ious >= required
    hits: np.ndarray = reached[:, reached.mean(axis=0).argmax()].astype(np.float64)
    return hits


def _hits_on_average(ious: Points) -> Float[np.ndarray, " images"]:
    hits: np.ndarray = np.mean([_hits(ious, required) for required in (0.3, 0.5, 0.7)], axis=0)
    return hits


def _average_precision(hits: Points, predicted: Points) -> Float[np.ndarray, " images"]:
    """What each image adds to PxAP, at the precision that all images together have at each threshold."""
    precision = hits.sum(axis=0) / np.maximum(predicted.sum(axis=0), 1)
    gained = np.diff(hits, axis=1, prepend=0.0)
    shares: np.ndarray = gained @ precision / hits[:, -1].mean()
    return shares


# Numbers of all images together as means over images, whose intervals and paired tests then hold for what is fixed:
# MaxBoxAcc, a maximum over thresholds of a mean, at its best threshold; PxAP at its precision at each threshold.
_OF_ALL_TOGETHER: dict[str, tuple[tuple[str, ...], Callable[..., Float[np.ndarray, " images"]]]] = {
    "max_box_accuracy": (("largest_box_iou_curve",), lambda ious: _hits(ious, 0.5)),
    "max_box_accuracy_v2": (("best_box_iou_curve",), _hits_on_average),
    "pxap": (("pixel_hits_curve", "pixel_predicted_curve"), _average_precision),
}

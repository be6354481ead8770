"""A task's numbers added up per image, or per group of images where there are very many.

Means, bootstrap intervals and paired tests need no more than these sums, so that a run of a million images takes the
memory of one of fifty thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vitcam.evaluation.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.rows import COLUMNS, Task
from vitcam.evaluation.stored_rows import StoredRows

UNITS = 2**16
"""So many images are drawn one by one; more are drawn in so many random groups of equal size."""

HITS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "max_box_accuracy": ("largest_box_iou_curve", (0.5,)),
    "max_box_accuracy_v2": ("best_box_iou_curve", (0.3, 0.5, 0.7)),
}
"""Numbers of all images together: a curve of IoUs, and the IoUs that count as hits."""

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Sums:
    """What the scored rows of a task add up to.

    Attributes:
        methods: the second dimension of all arrays.
        units: how many images, or groups of images, the first dimension has.
        images: how many images have scores, by method.
        numbers: by column (units, methods).
        curves: by column (units, methods, points); for the names of ``HITS`` (units, methods, required IoUs × points)
            with a 1 for each hit.
        counts: by column (units, methods), how many rows have that number, or all points of that curve.
        sizes: how many images each unit is of, with scores or not.
    """

    methods: tuple[str, ...]
    units: int
    images: Int[np.ndarray, " methods"] = field(init=False)
    numbers: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)
    curves: dict[str, Float[np.ndarray, "units methods points"]] = field(default_factory=dict)
    counts: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)
    sizes: Int[np.ndarray, " units"] = field(init=False)

    def __post_init__(self) -> None:
        self.images = np.zeros(len(self.methods), dtype=np.int64)
        self.sizes = np.ones(self.units, dtype=np.int64)

    def add(self, key: str, place: Int[np.ndarray, " rows"], values: Array) -> None:
        """Adds rows' numbers or curves; those that aren't finite are left out.

        Args:
            key: their column.
            place: of each row, unit · methods + method.
            values: (rows,) or (rows, points).
        """
        finite = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
        place, values = place[finite], values[finite]
        shape = (self.units, len(self.methods))
        if key not in self.counts:
            self.counts[key] = np.zeros(shape)
            if values.ndim == 1:
                self.numbers[key] = np.zeros(shape)
            else:
                self.curves[key] = np.zeros((*shape, values.shape[1]))
        if not len(place):
            return
        size = self.units * len(self.methods)
        self.counts[key] += np.bincount(place, minlength=size).reshape(shape)
        if values.ndim == 1:
            self.numbers[key] += np.bincount(place, values, size).reshape(shape)
            return
        if values.shape[1] != self.curves[key].shape[2]:
            raise of_different_lengths(key, {values.shape[1], self.curves[key].shape[2]})
        for point in range(values.shape[1]):
            self.curves[key][..., point] += np.bincount(place, values[:, point], size).reshape(shape)

    def best_hits(self, key: str) -> Float[np.ndarray, "units methods"]:
        """The hits of ``max_box_accuracy`` or ``max_box_accuracy_v2``, on average over the required IoUs.

        Each at its method's best threshold, at which they are ordinary numbers.
        """
        required = len(HITS[key][1])
        hits = self.curves[key].reshape(self.units, len(self.methods), required, -1)
        best = hits.sum(axis=0).argmax(axis=-1)
        chosen = np.take_along_axis(hits, best[None, :, :, None], axis=3)[..., 0]
        return np.asarray(chosen.mean(axis=2))


def sum_up(rows: StoredRows, task: Task, methods: tuple[str, ...], curves: bool = True) -> Sums:
    """Adds up the rows of a task that count: localization leaves out images that were predicted wrong.

    Args:
        rows: of a run.
        task: whose.
        methods: whose.
        curves: whether they are wanted by unit, and not just over all units, as one.

    Raises:
        RunError: a file is damaged, or curves have different lengths.
    """
    groups = unit_of_images(len(rows.of(task)))
    units = int(groups.max(initial=-1)) + 1
    sums = Sums(methods, units)
    sums.sizes = np.bincount(groups, minlength=units)
    overall = Sums(methods, 1)
    columns = number_columns(rows)
    start = 0
    for images, chunk in rows.chunks(task, columns):
        own = groups[start : start + len(images)]
        start += len(images)
        scored = scored_rows(chunk, task).filter(pl.col("method").is_in(methods))
        if scored.is_empty():
            continue
        which = (
            scored["method"].replace_strict(methods, range(len(methods)), return_dtype=pl.Int64).to_numpy()
        )
        sums.images += np.bincount(
            scored.with_columns(pl.Series("which", which)).unique(["image", "which"])["which"].to_numpy(),
            minlength=len(methods),
        )
        ranks = scored.join(
            pl.DataFrame({"image": images, "unit": own}), on="image", how="left", maintain_order="left"
        )["unit"].to_numpy()
        place = ranks * len(methods) + which
        for key, values, present in arrays_of(scored, columns):
            if values.ndim == 1 or curves:
                sums.add(key, place[present], values)
            else:
                overall.add(key, which[present], values)
    if not curves:
        sums.curves = overall.curves
        sums.counts |= overall.counts
    return sums


def unit_of_images(images: int) -> Int[np.ndarray, " images"]:
    """The unit that each image, in the order of their names, is in.

    Groups are drawn at random, since neighbours in that order may be of one class; always the same ones.
    """
    if images <= UNITS:
        return np.arange(images)
    return np.random.default_rng(0).permutation(images) % UNITS


def number_columns(rows: StoredRows) -> list[str]:
    """The columns that hold numbers or curves."""
    return [
        name
        for name, kind in rows.schema.items()
        if name not in COLUMNS and (kind.is_numeric() or isinstance(kind, pl.List))
    ]


def scored_rows(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Those of a task's rows that count: localization leaves out images that were predicted wrong."""
    read = rows.filter(pl.col("method").is_not_null())
    return read.filter(pl.col("correct")) if task == "localization" else read


def arrays_of(rows: pl.DataFrame, columns: Collection[str]) -> Iterator[tuple[str, Array, Array]]:
    """Columns as arrays (rows,) or (rows, points), with the hits of their curves, and which rows have them."""
    hits: dict[str, list[tuple[str, tuple[float, ...]]]] = {curve: [] for curve, _ in HITS.values()}
    for name, (curve, required) in HITS.items():
        hits[curve].append((name, required))
    for key in columns:
        if key not in rows.columns:
            continue
        present = rows[key].is_not_null().to_numpy()
        column = rows[key].drop_nulls()
        if not isinstance(column.dtype, pl.List):
            yield key, column.cast(pl.Float64).to_numpy(), present
        elif len(column):
            values = points_of(column)
            yield key, values, present
            for name, required in hits.get(key, ()):
                finite = np.isfinite(values).all(axis=1, keepdims=True)
                reached = [np.where(finite, values >= iou, np.nan) for iou in required]
                yield name, np.concatenate(reached, axis=1), present


def points_of(curves: pl.Series) -> Array:
    """Curves as an array (curves, points).

    Raises:
        RunError: they have different lengths.
    """
    lengths = set(curves.list.len().unique().to_list())
    if len(lengths) != 1:
        raise of_different_lengths(curves.name, lengths)
    points = curves.explode().cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.asarray(points.reshape(len(curves), lengths.pop()))


def of_different_lengths(key: str, lengths: Collection[int]) -> RunError:
    """The error for it."""
    return RunError(
        f"the curves in {key} have {', '.join(map(str, sorted(lengths)))} points: expected as many in every row of a "
        "run"
    )

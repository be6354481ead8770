"""A task's numbers added up per image, or per group of images where there are very many.

Means, bootstrap intervals and paired tests need no more than these sums, so that a run of a million images takes the
memory of one of fifty thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

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
    """What the scored rows of a task add up to; arrays are by unit and method, curves by point besides.

    Attributes:
        methods: the second dimension of all arrays.
        units: how many images, or groups of images, the first dimension has.
        images: how many images have scores, by method.
        numbers: by column.
        curves: by column; for the names of ``HITS`` the points are required IoUs × thresholds, and a hit is a 1.
        counts: by column, how many rows have that number, or all points of that curve.
        distinct: by column, how many images these rows are of.
        presence: by column, a number that is the same where the same rows have it.
    """

    methods: tuple[str, ...]
    units: int
    images: Int[np.ndarray, " methods"] = field(init=False)
    numbers: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)
    curves: dict[str, Float[np.ndarray, "units methods points"]] = field(default_factory=dict)
    counts: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)
    distinct: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)
    presence: dict[str, Float[np.ndarray, "units methods"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images = np.zeros(len(self.methods), dtype=np.int64)

    def add(self, key: str, rows: Places, values: Array) -> None:
        """Adds rows' numbers or curves; those that aren't finite are left out.

        Args:
            key: their column.
            rows: where they belong.
            values: (rows,) or (rows, points).

        Raises:
            RunError: curves have another length than those before.
        """
        finite = np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        rows, values = rows.only(finite), values[finite]
        if key not in self.counts:
            for arrays in (self.counts, self.distinct, self.presence):
                arrays[key] = np.zeros((self.units, len(self.methods)))
            of_points = values.shape[1:]
            (self.curves if of_points else self.numbers)[key] = np.zeros(
                (*self.counts[key].shape, *of_points)
            )
        if not len(values):
            return
        place = rows.unit * len(self.methods) + rows.method
        self.counts[key] += self._added(place)
        self.distinct[key] += self._added(place[rows.is_first])
        self.presence[key] += self._added(place, rows.identity)
        if values.ndim == 1:
            self.numbers[key] += self._added(place, values)
            return
        curves = self.curves[key]
        if values.shape[1] != curves.shape[2]:
            raise of_different_lengths(key, {values.shape[1], curves.shape[2]})
        for point in range(values.shape[1]):
            curves[..., point] += self._added(place, values[:, point])

    def take_best_hits(self, key: str) -> Int[np.ndarray, "methods required"]:
        """Turns the hits of ``max_box_accuracy`` or ``max_box_accuracy_v2`` into ordinary numbers.

        Each is a maximum over thresholds of a mean over images. At each method's best threshold it is the mean of the
        hits there, on average over the required IoUs.

        Returns:
            These thresholds, as places in the curve.
        """
        required = len(HITS[key][1])
        hits = self.curves.pop(key).reshape(self.units, len(self.methods), required, -1)
        best = hits.sum(axis=0).argmax(axis=-1)
        self.numbers[key] = np.take_along_axis(hits, best[None, :, :, None], axis=3)[..., 0].mean(axis=2)
        return np.asarray(best)

    def _added(self, place: Int[np.ndarray, " rows"], values: Array | None = None) -> Array:
        shape = (self.units, len(self.methods))
        return np.asarray(np.bincount(place, values, shape[0] * shape[1]).reshape(shape), dtype=np.float64)


@dataclass(frozen=True)
class Places:
    """Where rows belong. They are sorted by image and method.

    Attributes:
        unit, method: of each row.
        image: of each row, as a number.
        identity: of each row, a random number below 2³² that all methods' rows of an image and a target share.
    """

    unit: Int[np.ndarray, " rows"]
    method: Int[np.ndarray, " rows"]
    image: Int[np.ndarray, " rows"]
    identity: Float[np.ndarray, " rows"]

    def only(self, chosen: Bool[np.ndarray, " rows"]) -> Places:
        """Some of the rows."""
        return Places(self.unit[chosen], self.method[chosen], self.image[chosen], self.identity[chosen])

    @property
    def is_first(self) -> Bool[np.ndarray, " rows"]:
        """Whether a row is the first of its image and method."""
        first = np.ones(len(self.unit), dtype=np.bool_)
        first[1:] = (np.diff(self.image) != 0) | (np.diff(self.method) != 0)
        return first


def sum_up(
    rows: StoredRows, task: Task, methods: tuple[str, ...], curves: Collection[str] | None = None
) -> Sums:
    """Adds up the rows of a task that count: localization leaves out images that were predicted wrong.

    Args:
        rows: of a run.
        task: whose.
        methods: whose.
        curves: those that are wanted by unit, ``HITS`` among them; None for all, over all units as one.

    Raises:
        RunError: a file is damaged, or curves have different lengths.
    """
    groups = unit_of_images(len(rows.of(task)))
    identities = np.random.default_rng(1).integers(0, 2**32, len(groups))
    sums, overall = Sums(methods, int(groups.max(initial=0)) + 1), Sums(methods, 1)
    columns = number_columns(rows)
    start = 0
    for images, chunk in rows.chunks(task, columns):
        end = start + len(images)
        scored = scored_rows(chunk, task).filter(pl.col("method").is_in(methods))
        if scored.height:
            ranks = pl.DataFrame({"image": images}).with_row_index("rank")
            rank = (
                scored.join(ranks, on="image", how="left", maintain_order="left")["rank"]
                .to_numpy()
                .astype(np.int64)
            )
            which = (
                scored["method"]
                .replace_strict(list(methods), list(range(len(methods))), return_dtype=pl.Int64)
                .to_numpy()
            )
            target = scored["target"].fill_null(0).to_numpy().astype(np.uint64)
            identity = (
                identities[start:end][rank].astype(np.uint64) + target * np.uint64(2654435761)
            ) % 2**32
            places = Places(groups[start:end][rank], which, rank, identity.astype(np.float64))
            sums.images += np.bincount(which[places.is_first], minlength=len(methods))
            for key, values, present in arrays_of(scored, columns):
                if values.ndim == 1 or curves is None or key in curves:
                    into = overall if values.ndim == 2 and curves is None else sums
                    of = places.only(present)
                    into.add(key, replace(of, unit=np.zeros_like(of.unit)) if into is overall else of, values)
        start = end
    if curves is None:
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


def arrays_of(
    rows: pl.DataFrame, columns: Collection[str]
) -> Iterator[tuple[str, Array, Bool[np.ndarray, " rows"]]]:
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

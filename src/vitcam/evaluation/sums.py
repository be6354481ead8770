"""A task's numbers added up per image, or per group of images where there are very many.

Means, bootstrap intervals and paired tests need no more than these sums, so that a run of a million images takes the
memory of one of fifty thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from vitcam.evaluation.columns import (
    arrays_of,
    number_columns,
    numbers_together,
    of_different_lengths,
    scored_rows,
)
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Task
from vitcam.evaluation.statistics import Column
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.together import Array

UNITS = 2**16
"""So many images are drawn one by one; more are drawn in so many random groups of equal size."""

Weights = Mapping[str, Float[np.ndarray, "methods points"]]
"""By names of ``numbers_together``."""


@dataclass
class Sums:
    """What the scored rows of a task add up to; arrays are by unit and method, curves by point besides.

    Attributes:
        methods: the second dimension of all arrays.
        units: how many images, or groups of images, the first dimension has.
        images: how many images have scores, by method.
        numbers: by column.
        curves: by column; by names of ``numbers_together`` their points.
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

    def curve_means(self, key: str) -> Float[np.ndarray, "methods points"]:
        """The mean curve of every method, over all units; zero without any."""
        counts = self.counts[key].sum(axis=0)
        return np.asarray(self.curves[key].sum(axis=0) / np.maximum(counts, 1)[:, None])

    def column(self, key: str, method: int) -> Column:
        """One method's numbers, or curves, of a column."""
        table = self.numbers[key] if key in self.numbers else self.curves[key]
        images = int(self.distinct[key][:, method].sum())
        return Column(table[:, method], self.counts[key][:, method], images)

    def difference(self, key: str, one: int, other: int) -> Column:
        """One method's numbers minus another's, where both have those of the same rows."""
        presence, minuend, subtrahend = self.presence[key], self.column(key, one), self.column(key, other)
        both = (presence[:, one] == presence[:, other]).astype(np.float64)
        images = int((both * self.distinct[key][:, one]).sum())
        return Column(both * (minuend.sums - subtrahend.sums), both * minuend.counts, images)

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

    def as_one(self) -> Places:
        """The same as if all units were one."""
        return replace(self, unit=np.zeros_like(self.unit))

    @property
    def is_first(self) -> Bool[np.ndarray, " rows"]:
        """Whether a row is the first of its image and method."""
        first = np.ones(len(self.unit), dtype=np.bool_)
        first[1:] = (np.diff(self.image) != 0) | (np.diff(self.method) != 0)
        return first


def sum_up(
    rows: StoredRows,
    task: Task,
    methods: tuple[str, ...],
    curves: Collection[str] | None = None,
    weights: Weights | None = None,
) -> Sums:
    """Adds up the rows of a task that count: localization leaves out images that were predicted wrong.

    Args:
        rows: of a run.
        task: whose.
        methods: whose.
        curves: those that are wanted by unit; None for all, over all units as one, the points of
            ``numbers_together`` among them.
        weights: those of numbers of ``numbers_together``, which then are numbers like the others.

    Raises:
        RunError: a file is damaged, or curves have different lengths.
    """
    weights = weights or {}
    columns = number_columns(rows)
    if curves is not None:
        wanted = {*curves, *(curve for key in weights for curve in numbers_together()[key].curves)}
        columns = [key for key in columns if key in wanted or not isinstance(rows.schema[key], pl.List)]
    sums, overall = Sums(methods, units_of(len(rows.of(task)))), Sums(methods, 1)
    for scored, places in _placed(rows, task, methods, columns):
        sums.images += np.bincount(places.method[places.is_first], minlength=len(methods))
        for key, values, present in arrays_of(scored, columns):
            places_present = places.only(present)
            if key in weights:
                values = weighted(values, weights[key], places_present.method)
            if values.ndim == 1 or (curves is not None and key in curves):
                sums.add(key, places_present, values)
            elif curves is None:
                overall.add(key, places_present.as_one(), values)
    if curves is None:
        sums.curves = overall.curves
        sums.counts |= overall.counts
    return sums


def weights_together(rows: StoredRows, task: Task, methods: tuple[str, ...]) -> Weights:
    """The weights of those ``numbers_together`` that a task's rows have, from a reading of their curves alone.

    Raises:
        RunError: a file is damaged, or curves have different lengths.
    """
    needed = {curve for number in numbers_together().values() for curve in number.curves}
    columns = [key for key in number_columns(rows) if key in needed]
    overall = Sums(methods, 1)
    for scored, places in _placed(rows, task, methods, columns) if columns else ():
        for key, points, present in arrays_of(scored, columns):
            if key in numbers_together():
                overall.add(key, places.only(present).as_one(), points)
    return {
        key: np.stack([numbers_together()[key].weights(mean) for mean in overall.curve_means(key)])
        for key in overall.curves
    }


def weighted(
    points: Float[np.ndarray, "rows points"],
    weights: Float[np.ndarray, "methods points"],
    method: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, " rows"]:
    """The weighted sum of each row's points, with the weights of its method."""
    sums = np.empty(len(points))
    for i, of_method in enumerate(weights):
        rows = method == i
        sums[rows] = points[rows] @ of_method
    return sums


def _placed(
    rows: StoredRows, task: Task, methods: tuple[str, ...], columns: Sequence[str]
) -> Iterator[tuple[pl.DataFrame, Places]]:
    """The rows that count, some images' at a time, and where they belong."""
    groups = unit_of_images(len(rows.of(task)))
    identities = np.random.default_rng(1).integers(0, 2**32, len(groups))
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
            target = scored["target"].fill_null(0).to_numpy().astype(np.uint64)
            identity = (
                identities[start:end][rank].astype(np.uint64) + target * np.uint64(2654435761)
            ) % 2**32
            which = method_numbers(scored, methods)
            yield scored, Places(groups[start:end][rank], which, rank, identity.astype(np.float64))
        start = end


def method_numbers(rows: pl.DataFrame, methods: tuple[str, ...]) -> Int[np.ndarray, " rows"]:
    """The place of each row's method among these."""
    numbers = rows["method"].replace_strict(list(methods), range(len(methods)), return_dtype=pl.Int64)
    return np.asarray(numbers.to_numpy())


def units_of(images: int) -> int:
    """How many units so many images are in, all of which may have no scores."""
    return max(1, min(images, UNITS))


def unit_of_images(images: int) -> Int[np.ndarray, " images"]:
    """The unit that each image, in the order of their names, is in.

    Groups are drawn at random, since neighbours in that order may be of one class; always the same ones.
    """
    if images <= UNITS:
        return np.arange(images)
    return np.random.default_rng(0).permutation(images) % UNITS

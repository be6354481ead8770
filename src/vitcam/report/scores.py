"""From rows to arrays: a task's numbers added up, and some of them by image and method."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int

from vitcam.evaluation.columns import arrays_of, drawn_curves, number_columns, numbers_together, scored_rows
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Task
from vitcam.evaluation.sums import Sums, Weights, method_numbers, sum_up, weighted, weights_together
from vitcam.report.run import Run, as_report_errors


@dataclass(frozen=True)
class Summed:
    """A task's numbers, added up by image, or by group of images where there are very many.

    Attributes:
        sums: the numbers, those of ``numbers_together`` among them, and the curves that are drawn.
        weights: those of ``numbers_together``, which all images together say.
    """

    sums: Sums
    weights: Weights

    @property
    def keys(self) -> list[str]:
        """The numbers that some image has."""
        return [key for key in self.sums.numbers if self.sums.counts[key].any()]


@dataclass(frozen=True)
class Scores:
    """Some of a task's numbers, by image.

    Attributes:
        units: what was scored, in the order of the arrays: columns ``image``, ``target`` and ``class_name``.
        methods: those that have rows.
        numbers: by column, NaN where an image has no such number.
    """

    units: pl.DataFrame
    methods: tuple[str, ...]
    numbers: dict[str, Float[np.ndarray, "units methods"]]

    @cached_property
    def images(self) -> Int[np.ndarray, " units"]:
        """Which image each unit is of, as a number."""
        return np.asarray(self.units["image"].rank("dense"), dtype=np.int64)


def read_sums(run: Run, task: Task) -> Summed:
    """A task's numbers, added up.

    Raises:
        ReportError: a file is damaged, or curves have different lengths.
    """
    return _read_sums(_Same(run), task)


def read_scores(run: Run, task: Task, keys: Collection[str] | None = None) -> Scores:
    """A task's numbers by image.

    Args:
        run: whose.
        task: whose.
        keys: which numbers, names of ``numbers_together`` among them; None for all.

    Raises:
        ReportError: a file is damaged, or curves have different lengths.
    """
    summed = read_sums(run, task)
    methods = summed.sums.methods
    wanted = [key for key in summed.keys if keys is None or key in keys]
    together = numbers_together()
    sources = {column for key in wanted for column in (together[key].curves if key in together else (key,))}
    columns = [name for name in number_columns(run.stored) if name in sources]
    units: list[pl.DataFrame] = []
    tables: dict[str, list[Float[np.ndarray, "units methods"]]] = {key: [] for key in wanted}
    with as_report_errors():
        for _, chunk in run.stored.chunks(task, ["class_name", *columns]):
            rows = scored_rows(chunk, task).filter(pl.col("method").is_in(methods))
            scored_units = rows.select("image", "target", "class_name").unique(
                ["image", "target"], maintain_order=True
            )
            scored_units = scored_units.sort("image", "target")
            units.append(scored_units)
            where = rows.join(
                scored_units.with_row_index("unit"), on=["image", "target"], maintain_order="left"
            )
            place = where["unit"].to_numpy()
            which = method_numbers(rows, methods)
            numbers = {key: np.full((scored_units.height, len(methods)), np.nan) for key in wanted}
            for key, values, present in arrays_of(rows, columns):
                if key not in numbers:
                    continue
                if key in summed.weights:
                    values = weighted(values, summed.weights[key], which[present])
                numbers[key][place[present], which[present]] = np.where(np.isfinite(values), values, np.nan)
            for key, table in numbers.items():
                tables[key].append(table)
    schema = {"image": pl.String(), "target": pl.Int64(), "class_name": pl.String()}
    all_units = pl.concat(units) if units else pl.DataFrame(schema=schema)
    return Scores(all_units, methods, {key: np.concatenate(parts) for key, parts in tables.items()})


@dataclass(frozen=True)
class _Same:
    """A run that is the same as itself alone, to be remembered by."""

    run: Run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.run is other.run

    def __hash__(self) -> int:
        return id(self.run)


@lru_cache(maxsize=4)
def _read_sums(same: _Same, task: Task) -> Summed:
    run = same.run
    methods = run.methods
    with as_report_errors():
        weights = weights_together(run.stored, task, methods)
        sums = sum_up(run.stored, task, methods, drawn_curves(task), weights)
    kept = [i for i in range(len(methods)) if sums.images[i]]
    return Summed(_only(sums, kept), {key: of[kept] for key, of in weights.items()})


def _only(sums: Sums, kept: list[int]) -> Sums:
    """Without the methods that have no scored row in this task."""
    if len(kept) == len(sums.methods):
        return sums
    fewer = Sums(tuple(sums.methods[i] for i in kept), sums.units)
    fewer.images = sums.images[kept]
    for name in ("numbers", "curves", "counts", "distinct", "presence"):
        setattr(fewer, name, {key: table[:, kept] for key, table in getattr(sums, name).items()})
    return fewer

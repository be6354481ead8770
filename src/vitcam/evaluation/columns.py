"""Columns of rows: what the declarations of measures say about them, and the arrays that they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
from jaxtyping import Bool

from vitcam.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Number, Task, resolved
from vitcam.evaluation.measures import MEASURES, measures_of
from vitcam.evaluation.rows import COLUMNS
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.together import Array, Together


def main_number(task: Task) -> str:
    """What images and classes are ordered by."""
    return measures_of(task)[0].numbers[0].key


def numbers_of(task: Task, columns: Iterable[str]) -> list[Number]:
    """A task's numbers, in the order of their declarations; then those that aren't known, titled by their keys."""
    present = list(columns)
    known = {
        number.key: number for each in measures_of(task) for number in each.numbers if number.key in present
    }
    unknown = [Number(key, key, "As the run stored it.", None) for key in present if key not in known]
    return [*known.values(), *unknown]


def numbers_together() -> dict[str, Together]:
    """The numbers of all rows together, by the names that they have in summaries and reports."""
    return {
        number.key: resolved(number.together)
        for measure in MEASURES.values()
        for number in measure.numbers
        if number.together is not None
    }


def drawn_curves(task: Task) -> frozenset[str]:
    """The columns that are drawn."""
    return frozenset(curve.key for each in measures_of(task) for curve in each.curves if curve.plot)


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
    """Columns as arrays (rows,) or (rows, points), then the points of ``numbers_together``, and which rows have them.

    Raises:
        RunError: curves have different lengths.
    """
    curves: dict[str, tuple[Array, Bool[np.ndarray, " rows"]]] = {}
    needed = {curve for number in numbers_together().values() for curve in number.curves}
    for key in columns:
        if key not in rows.columns:
            continue
        present = rows[key].is_not_null().to_numpy()
        column = rows[key].drop_nulls()
        if not isinstance(column.dtype, pl.List):
            yield key, column.cast(pl.Float64).to_numpy(), present
        elif len(column):
            values = _points_of(column)
            if key in needed:
                curves[key] = values, present
            yield key, values, present
    for name, number in numbers_together().items():
        if not all(curve in curves for curve in number.curves):
            continue
        of_number = [curves[curve] for curve in number.curves]
        lengths = {values.shape[1] for values, _ in of_number}
        if len(lengths) > 1:
            raise of_different_lengths(" and ".join(number.curves), lengths)
        shared = np.all([present for _, present in of_number], axis=0)
        yield name, number.points(*(values[shared[present]] for values, present in of_number)), shared


def _points_of(curves: pl.Series) -> Array:
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

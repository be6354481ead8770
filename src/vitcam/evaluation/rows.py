"""The rows of a run: one per image, method and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vitcam.evaluation.frames import pl

Task = Literal["localization", "perturbation"]
TASKS: tuple[Task, ...] = ("localization", "perturbation")

Row = dict[str, Any]
"""A row in the making: what the columns hold, and under ``heatmap`` the map that its numbers are of."""

Shape = Literal["number", "curve"]
"""What stands in a column: a float, or a list of floats. Null where a row has none."""

KEY = ("task", "image", "method", "target")
"""What a row is known by."""

COLUMNS: Mapping[str, Any] = {
    "task": pl.String(),
    "image": pl.String(),
    "method": pl.String(),
    "target": pl.Int64(),
    "class_name": pl.String(),
    "label": pl.Int64(),
    "predicted": pl.Int64(),
    "correct": pl.Boolean(),
    "error": pl.String(),
}
"""What every row has, with polars' types; its numbers stand in further columns."""

_TYPES: Mapping[Shape, Any] = {"number": pl.Float64(), "curve": pl.List(pl.Float64())}


def failed_row(task: Task, image: str, error: str) -> Row:
    """The one row of an image that couldn't be read."""
    return {**dict.fromkeys(COLUMNS), "task": task, "image": image, "error": error}


def merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All rows of a run, each once, in an order that doesn't depend on how they came.

    Two workers of a cluster may both have done an image, if one was only thought to be dead: what came first
    counts. What was wrong with an image no longer does once it has scores.

    Args:
        parts: as they were stored, the oldest first; at least one.
    """
    rows = pl.concat(parts, how="diagonal_relaxed").unique(subset=KEY, keep="first", maintain_order=True)
    failed = pl.col("method").is_null()
    return rows.filter(~failed | failed.all().over("task", "image")).sort(KEY, nulls_last=True)


def to_frame(rows: Sequence[Row], metrics: Mapping[str, Shape]) -> pl.DataFrame:
    """A table of rows; numbers that a row doesn't have are null.

    Args:
        rows: with the keys of ``COLUMNS`` and any of ``metrics``.
        metrics: the further columns.
    """
    schema = {**COLUMNS, **{name: _TYPES[shape] for name, shape in metrics.items()}}
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=schema)

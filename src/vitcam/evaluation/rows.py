"""The rows of a run: one per image, method and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Shape, Task

Row = dict[str, Any]
"""A row in the making: what the columns hold, and under ``heatmap`` the map that its numbers are of."""

ORACLE = "oracle"
"""The control that knows the truth, among the methods of rows."""

KEY = ("task", "image", "method", "target")
"""What a row is known by."""

REQUIRED: Mapping[str, Any] = {
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
"""What the rows of every run have."""

MADE_FROM: Mapping[str, Any] = {"annotation": pl.String(), "photograph": pl.String()}
"""Digests of what a row was made from; vitcam's first runs don't have them."""

COLUMNS: Mapping[str, Any] = {**REQUIRED, **MADE_FROM}
"""What every row has, with polars' types; its numbers stand in further columns."""

_TYPES: Mapping[Shape, Any] = {"number": pl.Float64(), "curve": pl.List(pl.Float64())}


def failed_row(
    task: Task, image: str, error: str, annotation: str | None = None, photograph: str | None = None
) -> Row:
    """The one row of an image that has no scores: it couldn't be read, or the model gave no numbers for it."""
    made_from = {"annotation": annotation, "photograph": photograph}
    return {**dict.fromkeys(COLUMNS), "task": task, "image": image, "error": error, **made_from}


def merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Rows of several parts, each image with one outcome, in an order that doesn't depend on how they came.

    A batch may have been done twice, and not come out the same: another prediction, say, after a resumption on
    another machine. What came first counts, for all of an image's rows of a method together. What was wrong with
    an image no longer does once it has scores.

    Args:
        parts: as they were stored, the oldest first; at least one. They hold all rows of their images.
    """
    numbered = [part.with_columns(pl.lit(i, dtype=pl.UInt32).alias(_PART)) for i, part in enumerate(parts)]
    rows = pl.concat(numbered, how="diagonal_relaxed")
    failed = pl.col("method").is_null()
    rows = rows.filter(~failed | failed.all().over("task", "image"))
    rows = rows.filter(pl.col(_PART) == pl.col(_PART).min().over("task", "image", "method"))
    rows = rows.drop(_PART).unique(subset=KEY, keep="first", maintain_order=True)
    return rows.sort(KEY, nulls_last=True)


_PART = "part of the run"


def to_frame(rows: Sequence[Row], metrics: Mapping[str, Shape]) -> pl.DataFrame:
    """A table of rows; numbers that a row doesn't have are null.

    Args:
        rows: with the keys of ``COLUMNS`` and any of ``metrics``.
        metrics: the further columns.
    """
    schema = {**COLUMNS, **{name: _TYPES[shape] for name, shape in metrics.items()}}
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=schema)

"""The stored rows of a run, read a bounded number of images at a time, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Task
from vitcam.evaluation.parts import damaged
from vitcam.evaluation.rows import COLUMNS, KEY, MADE_FROM, REQUIRED, merged

IMAGES = 10_000
"""That are read at a time."""

_OF_AN_IMAGE: Mapping[str, Any] = {
    "task": pl.String(),
    "image": pl.String(),
    "scored": pl.Boolean(),
    "correct": pl.Boolean(),
    "error": pl.String(),
    **MADE_FROM,
}


@dataclass(frozen=True)
class StoredRows:
    """What the parts of a run hold together, each image with one outcome.

    Attributes:
        parts: the files, the oldest first.
    """

    parts: tuple[Path, ...]

    @cached_property
    def images(self) -> pl.DataFrame:
        """A line per task and image, sorted: whether it has scores (``scored``), whether its prediction is
        ``correct``, what is wrong with it (``error``), and what its rows were made from.
        """
        of_parts = [self._of_part(i) for i in range(len(self.parts))]
        if not of_parts:
            return pl.DataFrame(schema=dict(_OF_AN_IMAGE))
        outcomes = pl.concat(of_parts)  # the oldest part first
        if outcomes.select("task", "image").is_duplicated().any():
            outcomes = outcomes.group_by("task", "image", maintain_order=True).agg(
                pl.col("scored").any(),
                # what is said of an image is said by the first part that has scores of it, or else an error
                *(
                    pl.col(name).sort_by(~pl.col("scored"), maintain_order=True).first()
                    for name in list(_OF_AN_IMAGE)[3:]
                ),
            )
        return outcomes.select(*_OF_AN_IMAGE).sort("task", "image")

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        """The columns of all parts together, with their types."""
        together: dict[str, Any] = dict(COLUMNS) if not self.parts else {}
        for schema in self._schemas:
            together |= {
                name: kind for name, kind in schema.items() if together.get(name, pl.Null()) == pl.Null()
            }
        return together

    def of(self, task: Task) -> pl.DataFrame:
        """The lines of ``images`` of a task."""
        return self.images.filter(pl.col("task") == task)

    @cached_property
    def methods(self) -> frozenset[str]:
        """The methods that have rows."""
        names: set[str] = set()
        for part in self.parts:
            with damaged(part):
                names |= set(pl.scan_parquet(part).select(pl.col("method").unique()).collect()["method"])
        return frozenset(names - {None})

    def chunks(
        self, task: Task, columns: Sequence[str], at_once: int = 0
    ) -> Iterator[tuple[pl.Series, pl.DataFrame]]:
        """A task's rows, all those of some images at a time, sorted.

        Args:
            task: whose.
            columns: which, besides those that rows are known by.
            at_once: how many images; 0 for ``IMAGES``.

        Yields:
            The images, and their rows.
        """
        images = self.of(task)["image"]
        wanted = list(dict.fromkeys((*KEY, "correct", *columns)))
        step = at_once or IMAGES
        for start in range(0, len(images), step):
            chunk = images.slice(start, step)
            low, high = chunk[0], chunk[-1]
            inside = [
                self._between(i, task, low, high, wanted)
                for i, of_part in enumerate(self._ends)
                if task in of_part and of_part[task][0] <= high and of_part[task][1] >= low
            ]
            yield chunk, merged(inside)

    def all(self) -> pl.DataFrame:
        """All rows in memory."""
        if not self.parts:
            return pl.DataFrame(schema=dict(COLUMNS))
        tables = []
        for part in self.parts:
            with damaged(part):
                tables.append(pl.read_parquet(part))
        return merged(tables)

    @cached_property
    def _schemas(self) -> list[Mapping[str, Any]]:
        schemas: list[Mapping[str, Any]] = []
        for part in self.parts:
            with damaged(part):
                schema = pl.read_parquet_schema(part)
            missing = [name for name in REQUIRED if name not in schema]
            if missing:
                raise RunError(
                    f"{part} isn't a run's: it has no {', '.join(missing)} (it has {', '.join(schema)})"
                )
            schemas.append(schema)
        return schemas

    @cached_property
    def _ends(self) -> list[dict[str, tuple[str, str]]]:
        """Of each part, by task, the first and the last image in the order of their names."""
        ends = []
        for part in self.parts:
            with damaged(part):
                lazy = pl.scan_parquet(part).group_by("task")
                of_tasks = lazy.agg(
                    pl.col("image").min().alias("low"), pl.col("image").max().alias("high")
                ).collect()
            ends.append({task: (low, high) for task, low, high in of_tasks.iter_rows()})
        return ends

    def _of_part(self, i: int) -> pl.DataFrame:
        lazy = pl.scan_parquet(self.parts[i])
        absent = [pl.lit(None, pl.String()).alias(name) for name in MADE_FROM if name not in self._schemas[i]]
        scored = pl.col("method").is_not_null()
        first = [
            pl.col(name).filter(pl.col("scored") == pl.col("scored").any()).first() for name in _OF_AN_IMAGE
        ]
        with damaged(self.parts[i]):
            table = (
                lazy.with_columns(scored.alias("scored"), *absent)
                .select(*_OF_AN_IMAGE)
                .group_by("task", "image")
                .agg(pl.col("scored").any(), *first[3:])
                .collect()
            )
        return table.select(pl.col(name).cast(kind) for name, kind in _OF_AN_IMAGE.items())

    def _between(self, i: int, task: Task, low: str, high: str, columns: Sequence[str]) -> pl.DataFrame:
        present = [name for name in columns if name in self._schemas[i]]
        inside = (pl.col("task") == task) & pl.col("image").is_between(pl.lit(low), pl.lit(high))
        with damaged(self.parts[i]):
            return pl.scan_parquet(self.parts[i]).filter(inside).select(present).collect()

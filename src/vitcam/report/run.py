"""A stored run, as a report needs it: its settings and its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vitcam.evaluation.frames import pl
from vitcam.evaluation.rows import COLUMNS, TASKS, Task, merged
from vitcam.report.errors import ReportError

FORMAT = 1
"""Of ``run.json``, as far as this version of vitcam knows it."""


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        name: by which it is told from the other runs of a report.
        path: its folder.
        settings: the content of ``run.json``.
        rows: one per image, method and target, each once, sorted; an unreadable image has one row without
            a method.
    """

    name: str
    path: Path
    settings: Mapping[str, Any]
    rows: pl.DataFrame

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that have rows."""
        present = set(self.rows["task"])
        return tuple(task for task in TASKS if task in present)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that have rows, in the order in which the run was given them."""
        present = set(self.rows["method"].drop_nulls())
        given = [name for name in self.settings.get("methods", ()) if name in present]
        return (*given, *sorted(present.difference(given)))

    def counts(self, task: Task) -> dict[str, int]:
        """How many images a task was to do (``planned``), has done (``done``), and what became of these.

        ``images`` are those that have scores. ``skipped_wrong`` were predicted wrong, which localization
        leaves out; ``unreadable`` have an error in their row; ``unmatched`` were never begun, since the model
        doesn't know their class.
        """
        rows = self.rows.filter(pl.col("task") == task)
        read = rows.filter(pl.col("method").is_not_null())
        scored = scored_rows(read, task)
        done = rows["image"].n_unique()
        return {
            "planned": self.settings.get("images", done),
            "done": done,
            "images": scored["image"].n_unique(),
            "skipped_wrong": read["image"].n_unique() - scored["image"].n_unique(),
            "unreadable": rows.filter(pl.col("method").is_null())["image"].n_unique(),
            "unmatched": self.settings.get("unmatched", 0),
        }

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing because the run was interrupted, or is still going on; sentences for people."""
        asked = self.settings.get("task")
        expected = TASKS if asked == "all" else (asked,)
        gaps = [
            f"The {task} task has no rows yet."
            for task in expected
            if task in TASKS and task not in self.tasks
        ]
        for task in self.tasks:
            counts = self.counts(task)
            if counts["done"] < counts["planned"]:
                gaps.append(
                    f"The {task} task has done {counts['done']} of {counts['planned']} images; all its numbers "
                    "are of these."
                )
        return tuple(gaps)

    @property
    def unreadable(self) -> dict[str, str]:
        """Why images couldn't be read, by image."""
        failed = self.rows.filter(pl.col("error").is_not_null()).unique("image", maintain_order=True)
        return dict(zip(failed["image"], failed["error"], strict=True))


def scored_rows(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Those of a task's rows that count: localization leaves out images that were predicted wrong."""
    read = rows.filter(pl.col("method").is_not_null())
    return read.filter(pl.col("correct")) if task == "localization" else read


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Reads the folders of runs, finished or not.

    Args:
        paths: folders that ``vitcam evaluate`` wrote. Runs are named after their folders, or if these are
            called alike, by what was given.

    Raises:
        ReportError: one isn't a run's folder, has no rows yet, or is damaged.

    Example:
        >>> (run,) = read_runs(["run"])
        >>> run.name, run.tasks, run.methods
        ('run', ('localization',), ('agcam', 'rollout', 'random', 'center'))
    """
    folders = [Path(path) for path in dict.fromkeys(map(str, paths))]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [_read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def _read_run(folder: Path, name: str) -> Run:
    settings = _read_settings(folder)
    parts = [_read_part(part) for part in sorted((folder / "rows").glob("part-*.parquet"))]
    if not sum(part.height for part in parts):
        raise ReportError(
            f"{folder} has no rows yet: `vitcam evaluate` stores the first ones after a few seconds. If it "
            "isn't running, start it again with the same settings"
        )
    return Run(name, folder, settings, merged(parts))


def _read_settings(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    if not file.is_file():
        raise ReportError(
            f"{folder} is not a run: expected the folder that `vitcam evaluate … --output` wrote, with run.json "
            "and rows/ in it"
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{file} can't be read ({error}): expected the settings of a run") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ReportError(
            f"{file} isn't of a form that this version of vitcam reads (format {FORMAT}): another version "
            "wrote it; report it with that one"
        )
    return settings


def _read_part(part: Path) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(part)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReportError(
            f"{part} is damaged ({error}): delete it, and `vitcam evaluate` with the same settings does its "
            "images again"
        ) from error
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise ReportError(
            f"{part} isn't a run's: it has no {', '.join(missing)} (it has {', '.join(rows.columns)})"
        )
    return rows

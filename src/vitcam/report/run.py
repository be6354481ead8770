"""A stored run, as a report needs it: its settings and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vitcam.errors import ReportError, RunError
from vitcam.evaluation.costs import read_costs
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import TASKS, Task, tasks_of
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.stored_rows import StoredRows


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        name: by which it is told from the other runs of a report.
        path: its folder.
        settings: the content of ``run.json``.
        stored: its rows, read a part at a time.
    """

    name: str
    path: Path
    settings: Mapping[str, Any]
    stored: StoredRows

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All rows in memory: one per image, method and target, each once, sorted; an unreadable image has one row
        without a method.
        """
        with as_report_errors():
            return self.stored.all()

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that have rows."""
        present = set(self.stored.images["task"].unique())
        return tuple(task for task in TASKS if task in present)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that have rows, in the order in which the run was given them."""
        present = self.stored.methods
        in_order = [name for name in self.settings.get("methods", ()) if name in present]
        return (*in_order, *sorted(present.difference(in_order)))

    @cached_property
    def costs(self) -> dict[str, Any] | None:
        """How long each method took for a map, as ``measure_costs`` gave it; None where that wasn't measured.

        Raises:
            ReportError: the file is damaged.
        """
        with as_report_errors():
            return read_costs(self.path)

    def counts(self, task: Task) -> dict[str, int]:
        """How many images a task was to do (``planned``), has done (``done``), and what became of these.

        ``images`` are those that have scores. ``skipped_wrong`` were predicted wrong, which localization
        leaves out; ``unreadable`` have an error in their row; ``unmatched`` were never begun, since the model
        doesn't know their class.
        """
        images = self.stored.of(task)
        read = images.filter("scored")
        scored = read.filter("correct") if task == "localization" else read
        return {
            "planned": self.settings.get("images", images.height),
            "done": images.height,
            "images": scored.height,
            "skipped_wrong": read.height - scored.height,
            "unreadable": images.height - read.height,
            "unmatched": self.settings.get("unmatched", 0),
        }

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing because the run was interrupted, or is still going on; sentences for people."""
        asked = self.settings.get("task")
        expected = tasks_of(asked) if asked in (*TASKS, "all") else ()
        gaps = [f"The {task} task has no rows yet." for task in expected if task not in self.tasks]
        for task in self.tasks:
            counts = self.counts(task)
            if counts["done"] < counts["planned"]:
                gaps.append(
                    f"The {task} task has done {counts['done']} of {counts['planned']} images"
                    f"{self._why_not_all(task, counts['done'])}; all its numbers are of these."
                )
        return tuple(gaps)

    def _why_not_all(self, task: Task, done: int) -> str:
        """Whether they are a sample of all, and what stopped the run, if it is still where that left it."""
        if self.settings.get("order") != "random":
            return ""
        stop = RunFolder(self.path).times().get(task, {})
        known = stop.get("stopped") in ("budget", "target width") and stop["done"] == done
        reason = f", stopped by its {stop['stopped']}" if known else ""
        return f" in random order, an unbiased sample{reason}"

    @property
    def unreadable(self) -> dict[str, str]:
        """Why images couldn't be read, by image."""
        failed = self.stored.images.filter(pl.col("error").is_not_null()).unique("image", maintain_order=True)
        return dict(zip(failed["image"], failed["error"], strict=True))


@contextmanager
def as_report_errors() -> Iterator[None]:
    """What can't be read of a run is an error of the report that needs it."""
    try:
        yield
    except RunError as error:
        raise ReportError(str(error)) from error


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
    with as_report_errors():
        return [_read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def _read_run(path: Path, name: str) -> Run:
    folder = RunFolder(path)
    run = Run(name, path, folder.settings(), folder.stored_rows)
    if run.stored.images.is_empty():
        raise ReportError(
            f"{path} has no rows yet: `vitcam evaluate` stores the first ones after a few seconds. If it "
            "isn't running, start it again with the same settings"
        )
    return run

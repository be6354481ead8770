"""A run's folder: ``run.json``, Parquet in ``rows``, ``gallery`` and ``sources``, ``summary.json``; each file whole
or absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.gallery import FOLDER as GALLERY
from vitcam.evaluation.gallery import merged_pictures
from vitcam.evaluation.measure import Task
from vitcam.evaluation.parts import Parts, write_stored
from vitcam.evaluation.rows import merged
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.writing import TEMPORARY

FORMAT = 1
"""Of ``run.json``, as this version of vitcam writes and reads it."""

SOURCES = "sources"

TIMES = "times.json"
CHOSEN = "mosaics.json"
"""Says which photographs the mosaics of a run are made of."""

_OBJECTS = ("model", "dataset", "versions", "environment")
"""Settings that hold further ones."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run is stored.

    Rows are only ever added, as further files, each with a digest in its name. Many small files are put together
    now and then; what they are made of goes only when the new file is there.
    """

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @cached_property
    def rows(self) -> Parts:
        """The files of the rows."""
        return Parts(self.path / "rows")

    @cached_property
    def pictures(self) -> Parts:
        """The files of the gallery's pictures."""
        return Parts(self.path / GALLERY)

    @cached_property
    def sources(self) -> Parts:
        """Files that say what each photograph's annotation was, as a digest."""
        return Parts(self.path / SOURCES)

    def create(self) -> None:
        """Makes the folder, if need be.

        Raises:
            RunError: it can't be made, or holds something else.
        """
        rows = self.path / "rows"
        try:
            if (
                self.path.is_dir()
                and not (self.path / "run.json").exists()
                and any(not _is_ours(entry) for entry in self.path.iterdir())
            ):
                raise RunError(
                    f"{self.path} holds files, but no run: expected a folder with run.json, an empty one, or a "
                    "new name"
                )
            rows.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"can't make the folder {rows}: {error.strerror}") from error

    def begin(
        self, described: Mapping[str, Any], check: Callable[[Mapping[str, Any]], list[str]] | None = None
    ) -> list[str]:
        """Writes ``run.json``, or checks that it says the same; clears what an interrupted write left.

        Args:
            described: what a run with these settings begins with.
            check: is given what ``run.json`` holds, if it is there; raises where the settings differ, and returns
                what people should know about the way in which the run goes on.

        Returns:
            What ``check`` returned, or nothing.

        Raises:
            RunError: the settings differ, or ``run.json`` can't be read or written.
        """
        for left in self.path.rglob(f"*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        file = self.path / "run.json"
        if file.exists():
            stored = self.settings()
            return check(stored) if check else []
        if self.rows.paths():
            raise RunError(f"{self.path} has rows, but no run.json that says of what: take another folder")
        write_stored(file, _as_json(described))
        return []

    def settings(self) -> dict[str, Any]:
        """What ``run.json`` holds.

        Raises:
            RunError: there is none, it is damaged, or another version of vitcam wrote it in another format.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise RunError(
                f"{self.path} is not a run: expected the folder that `vitcam evaluate … --output` wrote, with "
                "run.json and rows/ in it"
            )
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{file} can't be read ({error}): expected the settings of a run") from error
        if not isinstance(settings, dict):
            raise RunError(
                f"{file} isn't of a form that vitcam writes, it holds {type(settings).__name__} {settings!r:.40}: "
                "expected the settings of a run"
            )
        if settings.get("format") != FORMAT:
            raise RunError(
                f"{file} isn't of a form that this version of vitcam reads (format {FORMAT}): another version wrote "
                "it; use that one"
            )
        for name in _OBJECTS:
            if not isinstance(settings.get(name, {}), dict):
                raise RunError(
                    f"{file} is damaged: its {name!r} must be an object, got {settings[name]!r:.40}"
                )
        return settings

    def append(self, rows: pl.DataFrame, pictures: pl.DataFrame | None = None) -> None:
        """Adds rows, as a file of their own, and before them, in another, the pictures that belong to them.

        In this order, since it is the rows that say what is done: after a kill in between, the images are done
        again, and their pictures are there twice.

        Raises:
            RunError: they can't be written, for example because the disk is full; what was there stays.
        """
        if not (self.path / "run.json").exists():
            raise RunError(
                f"{self.path} is gone, or has no run.json any more: put it back where it was, and the same command "
                "goes on"
            )
        if pictures is not None and pictures.height:
            self.pictures.add(pictures)
        self.rows.add(rows)
        self.put_together()

    def put_together(self, at_least: int | None = None) -> None:
        """Makes few files of many small ones.

        Raises:
            RunError: a file of rows is damaged, or the new one can't be written.
        """
        self.pictures.put_together(merged_pictures, at_least=at_least)
        self.rows.put_together(merged, at_least=at_least)

    @property
    def stored_rows(self) -> StoredRows:
        """The rows as they are now, to be read a part at a time.

        Raises:
            RunError: a file is damaged.
        """
        return StoredRows(tuple(self.rows.verified()))

    def read(self) -> pl.DataFrame:
        """All rows in memory, as ``merged``.

        Raises:
            RunError: a file is damaged.
        """
        return self.stored_rows.all()

    def stored(self, task: Task) -> dict[str, bool]:
        """The images that a task has rows of, and whether these are of scores, or else of an error."""
        return dict(self.stored_rows.of(task).select("image", "scored").iter_rows())

    def write_times(self, times: Mapping[str, Any]) -> None:
        """Writes ``times.json``.

        Raises:
            RunError: it can't be written.
        """
        write_stored(self.path / TIMES, _as_json(times))

    def times(self) -> dict[str, Any]:
        """What ``times.json`` holds by task; nothing of what can't be read: no number depends on it."""
        try:
            times = json.loads((self.path / TIMES).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return (
            {task: each for task, each in times.items() if _is_time(each)} if isinstance(times, dict) else {}
        )

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``.

        Raises:
            RunError: it can't be written.
        """
        write_stored(self.path / "summary.json", _as_json(summary))


def _is_ours(entry: Path) -> bool:
    """Whether it may be there before ``run.json``, in a run that was killed as it began."""
    return entry.name in ("lock", "rows", GALLERY, SOURCES, CHOSEN) or entry.name.endswith(TEMPORARY)


def _is_time(of_task: object) -> bool:
    """Whether it is what a run writes of a task's times."""
    if not isinstance(of_task, dict) or not isinstance(of_task.get("seconds"), dict):
        return False
    numbers = (of_task.get("images"), of_task.get("done"), *of_task["seconds"].values())
    return all(isinstance(number, (int, float)) for number in numbers)


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

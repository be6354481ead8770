"""A run's folder: ``run.json``, Parquet in ``rows`` and ``gallery``, ``summary.json``; each file whole or absent."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitcam.errors import VitcamError
from vitcam.evaluation.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.gallery import FOLDER as GALLERY
from vitcam.evaluation.rows import COLUMNS, Task, merged
from vitcam.evaluation.settings import check_same, environment_notes
from vitcam.writing import TEMPORARY, write_whole


@dataclass(frozen=True)
class RunFolder:
    """Where a run is stored.

    Rows are only ever added, as further files: what is written once is never touched again, so that nothing
    that happens later can damage it.
    """

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def create(self) -> None:
        """Makes the folder, if need be.

        Raises:
            RunError: it can't be made, or holds something else.
        """
        rows = self.path / "rows"
        if (
            self.path.is_dir()
            and not (self.path / "run.json").exists()
            and any(not _is_ours(entry) for entry in self.path.iterdir())
        ):
            raise RunError(
                f"{self.path} holds files, but no run: expected a folder with run.json, an empty one, or a new "
                "name"
            )
        try:
            rows.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"can't make the folder {rows}: {error.strerror}") from error

    def begin(self, described: Mapping[str, Any]) -> list[str]:
        """Writes ``run.json``, or checks that it says the same; clears what an interrupted write left.

        Returns:
            What people should know about the way in which the run goes on.

        Raises:
            RunError: the settings differ, or ``run.json`` can't be read or written.
        """
        for left in self.path.rglob(f"*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        file = self.path / "run.json"
        if file.exists():
            stored = self.settings()
            check_same(stored, described, str(self.path))
            return environment_notes(stored, described)
        if self._parts():
            raise RunError(f"{self.path} has rows, but no run.json that says of what: take another folder")
        _write(file, _as_json(described))
        return []

    def settings(self) -> dict[str, Any]:
        """What ``run.json`` holds.

        Raises:
            RunError: there is none, or it is damaged.
        """
        file = self.path / "run.json"
        try:
            settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{file} can't be read ({error}): expected the settings of a run") from error
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
        name = f"part-{len(self._parts()):06d}-{uuid.uuid4().hex[:8]}.parquet"
        if pictures is not None and pictures.height:
            _write(self.path / GALLERY / name, _as_parquet(pictures))
        _write(self.path / "rows" / name, _as_parquet(rows))

    def read(self) -> pl.DataFrame:
        """All rows, as ``merged``.

        Raises:
            RunError: a file is damaged.
        """
        parts = [_read(part) for part in self._parts()]
        if not parts:
            return pl.DataFrame(schema=dict(COLUMNS))
        return merged(parts)

    def stored(self, task: Task) -> dict[str, bool]:
        """The images that a task has rows of, and whether these are of scores, or else of an error."""
        parts = [_read(part, ["task", "image", "method"]) for part in self._parts()]
        if not parts:
            return {}
        own = pl.concat(parts).filter(pl.col("task") == task)
        return dict(own.group_by("image").agg(pl.col("method").is_not_null().any()).iter_rows())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``.

        Raises:
            RunError: it can't be written.
        """
        _write(self.path / "summary.json", _as_json(summary))

    def _parts(self) -> list[Path]:
        return sorted((self.path / "rows").glob("part-*.parquet"))


def _is_ours(entry: Path) -> bool:
    """Whether it may be there before ``run.json``, in a run that was killed as it began."""
    return entry.name in ("lock", "rows", GALLERY) or entry.name.endswith(TEMPORARY)


def _read(part: Path, columns: list[str] | None = None) -> pl.DataFrame:
    try:
        return pl.read_parquet(part, columns=columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{part} is damaged ({error}): delete it, and the same command does its images again"
        ) from error


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except VitcamError as error:
        raise RunError(
            f"{error}. What was stored before is whole; once this is put right, the same command goes on from there"
        ) from error


def _as_parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

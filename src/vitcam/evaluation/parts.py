"""A folder of Parquet files that is only added to; each is named by its digest, so that bit rot is noticed."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitcam.errors import RunError, VitcamError
from vitcam.evaluation.frames import pl
from vitcam.writing import write_whole

SMALL = 2**22
"""Bytes up to which a part may be put together with others."""

MANY = 256
"""So many small parts are put together."""

TOGETHER = 2**26
"""Bytes of small parts that are put together at once, and held in memory for it."""

ROW_GROUP = 50_000
"""Rows of a part that readers can pass over together, by their statistics."""

_DIGEST = 32
_NAME = re.compile(rf"part-(\d+)-([0-9a-f]{{{_DIGEST}}})\.parquet")

Merge = Callable[[Sequence[pl.DataFrame]], pl.DataFrame]
"""Makes one table of several, the oldest first."""


@dataclass
class Parts:
    """Parquet files ``part-NUMBER-DIGEST.parquet``, written whole, the oldest first.

    The digest is of the file's content (SHA-256, its first half): a file and its checksum can't be torn apart.
    Files of vitcam's first runs have eight random digits there, and are taken as they are.

    Only one process adds to a folder at a time; any number may read meanwhile.

    Attributes:
        folder: where they are.
    """

    folder: Path
    _next: int = field(default=-1, init=False)
    _small: dict[Path, int] = field(default_factory=dict, init=False)
    _sound: set[Path] = field(default_factory=set, init=False)

    def paths(self) -> list[Path]:
        """The files, the oldest first."""
        return sorted(self.folder.glob("part-*.parquet"), key=_age)

    def add(self, table: pl.DataFrame) -> None:
        """Writes a table as a further file. The folder is listed only once, however many files there are.

        Raises:
            RunError: it can't be written, for example because the disk is full; what was there stays.
        """
        if self._next < 0:
            self._look()
        self._write(self._number(), table)

    def put_together(self, merge: Merge, *, at_least: int | None = None) -> None:
        """Makes few files of many small ones.

        The new file is there before the old ones go. A kill in between leaves rows that are there twice, which
        readers of a run know how to deal with.

        Args:
            merge: makes one table of several, the oldest first.
            at_least: how many small files there must be; None for ``MANY``.

        A damaged one stays what it is, for its readers to name.

        Raises:
            RunError: the new one can't be written.
        """
        if self._next < 0:
            self._look()
        if len(self._small) < (at_least or MANY):
            return
        for group in self._groups():
            tables = [table for path in group if (table := self._read_sound(path)) is not None]
            group = [path for path in group if path in self._small]
            if len(group) < 2:
                continue
            number, _ = _age(group[0])
            content = _as_parquet(merge(tables))
            path = self._place(number, content)
            write_stored(path, content)
            for old in group:
                self._small.pop(old)
                if old != path:
                    old.unlink(missing_ok=True)
            if len(content) <= SMALL:
                self._small[path] = len(content)

    def verified(self) -> list[Path]:
        """The files, the oldest first, after a look whether each still holds what was written.

        A file is looked at once, however often this is asked.

        Raises:
            RunError: one is damaged.
        """
        paths = self.paths()
        for path in paths:
            if path not in self._sound:
                self.verify(path)
                self._sound.add(path)
        return paths

    def verify(self, path: Path) -> None:
        """Looks whether a file holds what was written.

        Raises:
            RunError: it doesn't.
        """
        named = _NAME.fullmatch(path.name)
        with damaged(path):
            if named is None:  # without a digest, all that can be said is whether it can be read
                pl.read_parquet(path)
                return
            digest = _digest(path.read_bytes())
        if digest != named[2]:
            raise _damaged(path, "its content isn't what its name's digest says")

    def _look(self) -> None:
        sizes = {path: path.stat().st_size for path in self.paths()}
        self._next = max((_age(path)[0] for path in sizes), default=-1) + 1
        self._small = {
            path: size for path, size in sizes.items() if size <= SMALL and _NAME.fullmatch(path.name)
        }

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _place(self, number: int, content: bytes) -> Path:
        return self.folder / f"part-{number:06d}-{_digest(content)}.parquet"

    def _write(self, number: int, table: pl.DataFrame) -> None:
        content = _as_parquet(table)
        path = self._place(number, content)
        write_stored(path, content)
        if len(content) <= SMALL:
            self._small[path] = len(content)

    def _groups(self) -> Iterator[list[Path]]:
        """Small files that are neighbours in age, as many as are held in memory at once."""
        group: list[Path] = []
        size = 0
        for path in sorted(self._small, key=_age):
            bytes_of_path = self._small[path]
            if size + bytes_of_path > TOGETHER and len(group) > 1:
                yield group
                group, size = [], 0
            group.append(path)
            size += bytes_of_path
        if len(group) > 1:
            yield group

    def _read_sound(self, path: Path) -> pl.DataFrame | None:
        try:
            self.verify(path)
            with damaged(path):
                return pl.read_parquet(path)
        except RunError:
            self._small.pop(path)
            return None


def _age(path: Path) -> tuple[int, str]:
    """What parts are ordered by: their number, and among equals their name."""
    number = path.name.split("-")[1]
    return (int(number) if number.isdecimal() else 0, path.name)


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Names the file of which Polars can't make sense; its reader panics on some."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(
            f"{path} is gone: the run that is going on has just put it together with others. Try again"
        ) from error
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _damaged(path, str(error).partition("\n")[0]) from error


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is damaged ({why}): delete it, and `vitcam evaluate` with the same settings does its images again"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]


def _as_parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content, row_group_size=ROW_GROUP)
    return content.getvalue()


def write_stored(path: Path, content: bytes) -> None:
    """Writes a file of a run whole.

    Raises:
        RunError: it can't be written.
    """
    try:
        write_whole(path, content)
    except VitcamError as error:
        raise RunError(
            f"{error}. What was stored before is whole; once this is put right, the same command goes on from there"
        ) from error

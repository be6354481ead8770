"""Reading a dataset's lists and folders, with errors that say which file, line and field."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitcam.errors import DatasetError
from vitcam.types import Box
from vitcam.walking import walk

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def require(kind: str, root: Path, expected: Mapping[Path, str]) -> None:
    """Checks that files and folders exist.

    Args:
        kind: the dataset's kind.
        root: what the user gave.
        expected: full paths, and what each should be.

    Raises:
        DatasetError: naming every one that doesn't exist.
    """
    missing = [f"{path} ({what})" for path, what in expected.items() if not path.exists()]
    if missing:
        raise DatasetError(
            f"the {kind} dataset at {root} is incomplete, missing: {'; '.join(missing)}. "
            "Unpack it in its official layout; nothing is downloaded"
        )


def require_listed(
    kind: str, folder: Path, names: Iterable[str], present: Collection[str], source: Path
) -> None:
    """Checks that every file which the annotations name is in a folder.

    Args:
        kind: the dataset's kind.
        folder: where the files should be.
        names: the files that should be there, relative to the folder.
        present: the files that are there (a set, or the keys of a dict).
        source: what names them.

    Raises:
        DatasetError: saying how many are missing, and the first one's full path.
    """
    wanted = list(names)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise DatasetError(
            f"the {kind} dataset is incomplete: {len(missing)} of the {len(wanted)} files that {source} "
            f"calls for are missing, the first {folder / missing[0]}"
        )


def list_files(folder: Path, suffixes: Collection[str]) -> list[str]:
    """The files in a folder and below, relative to it with ``/``, sorted; hidden ones are passed over.

    Args:
        folder: where to look; each folder below is gone through once, whatever links lead to it.
        suffixes: which files count, lower case with the dot; case doesn't matter.

    Raises:
        DatasetError: a folder can't be listed.
    """
    if not folder.is_dir():
        return []
    files, endings = [], tuple(suffixes)
    try:
        for parent, names in walk(folder):
            inside = parent.relative_to(folder).as_posix()
            prefix = "" if inside == "." else inside + "/"
            files += [prefix + name for name in names if f".{name}".lower().endswith(endings)]
    except OSError as error:
        raise DatasetError(
            f"{error.filename or folder} can't be listed: {error.strerror or error}"
        ) from error
    return sorted(files)


def find_base(root: Path, name: str, marker: str) -> Path:
    """The dataset's own folder: ``name`` in the root, if that is there and holds ``marker``, or the root."""
    return root / name if (root / name / marker).exists() else root


def corners(left: float, top: float, right: float, bottom: float, where: str) -> Box:
    """A box from its corners.

    Raises:
        DatasetError: right is less than left, or bottom less than top; the message begins with ``where``.
    """
    if right < left or bottom < top:
        raise DatasetError(
            f"{where}: a box must have left ≤ right and top ≤ bottom, got "
            f"left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}"
        )
    return Box(left, top, right, bottom)


def parse_number(text: str, field: str, where: str) -> float:
    """A finite number.

    Raises:
        DatasetError: the text is none; the message begins with ``where`` and names the field.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{where}: {field} must be a number, got {text!r}")
    return value


@dataclass(frozen=True)
class TableLine:
    """A line of a table, its fields by column name."""

    path: Path
    number: int
    fields: Mapping[str, str]

    @property
    def where(self) -> str:
        """File and line, to begin an error's message with."""
        return f"{self.path}, line {self.number}"

    def __getitem__(self, column: str) -> str:
        return self.fields[column]

    def number_in(self, column: str) -> float:
        """The number in a column; a ``DatasetError`` if it holds none."""
        return parse_number(self[column], column, self.where)

    def error(self, problem: str) -> DatasetError:
        """An error about this line."""
        return DatasetError(f"{self.where}: {problem}")


def read_table(path: Path, columns: Sequence[str], separator: str | None = None) -> Iterator[TableLine]:
    """The lines of a text file without a header; blank ones are passed over.

    Args:
        path: the file, in UTF-8.
        columns: the columns' names; the last one takes the rest of the line.
        separator: what stands between fields; None for any white space.

    Raises:
        DatasetError: the file can't be read, or a line has too few fields.
    """
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.strip().split(separator, len(columns) - 1)
        if len(fields) < len(columns):
            raise DatasetError(
                f"{path}, line {number}: expected {len(columns)} fields ({', '.join(columns)}), "
                f"got {len(fields)}: {line.strip()!r}. The file is truncated or damaged"
            )
        yield TableLine(path, number, dict(zip(columns, fields, strict=True)))


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[TableLine]:
    """The rows of a CSV file with a header, which may have further columns.

    Args:
        path: the file, in UTF-8.
        columns: the columns that must be there.

    Raises:
        DatasetError: the file can't be read, a column is missing, or a row is shorter than the header.
    """
    rows = _csv_rows(path)
    header = next(rows, (1, []))[1]
    absent = [column for column in columns if column not in header]
    if absent:
        raise DatasetError(
            f"{path}, line 1: expected a header with the columns {', '.join(columns)}; "
            f"got {', '.join(header) or 'an empty file'}, without {', '.join(absent)}"
        )
    for number, row in rows:
        if not row:
            continue
        if len(row) < len(header):
            raise DatasetError(
                f"{path}, line {number}: expected {len(header)} fields ({', '.join(header)}), "
                f"got {len(row)}. The file is truncated or damaged"
            )
        yield TableLine(path, number, dict(zip(header, row, strict=False)))


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_read_text(path).splitlines())
    try:
        for row in reader:
            yield reader.line_num, [field.strip() for field in row]
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: not a CSV file ({error})") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not a text file in UTF-8 (byte {error.start}): it is damaged"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error

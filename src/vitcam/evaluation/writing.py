"""Files that are there whole, or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vitcam.evaluation.errors import RunError

TEMPORARY = ".part"
"""What the name of a file ends with while it is written."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place, waits until the disk has it, and then moves it there.

    Raises:
        RunError: it can't be written, for example because the disk is full; nothing is left of it then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        write_durably(temporary, content)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise RunError(
            f"can't write {path}: {error.strerror or error}. What was stored before is whole; once this is "
            "put right, the same command goes on from there"
        ) from error


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file, and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a renaming last through a power cut; where folders can't be opened (Windows), it isn't needed."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that are there whole, or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vitcam.errors import VitcamError

TEMPORARY = ".part"
"""What the name of a file ends with while it is written."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place, waits until the disk has it, and then moves it there.

    Over what may have been there before. The folders it is to be in are made where they are missing.

    Raises:
        VitcamError: it can't be written, for example because the disk is full; nothing is left of it then.

    Example:
        >>> write_whole(Path("maps/cat.npy"), content)
    """
    _make(path.parent)
    # not tempfile: its files can be read by their owner alone, and stay so when moved
    part = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        write_durably(part, content)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise VitcamError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # once it is moved, it isn't there
            part.unlink()


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file, and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise VitcamError(f"can't write into {folder}: it is a file, not a folder") from error
    except OSError as error:
        raise VitcamError(f"can't make the folder {folder}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    """Makes a renaming last through a power cut; where folders can't be opened (Windows), it isn't needed."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

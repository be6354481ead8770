"""Files that are there whole, or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from vitcam.errors import VitcamError

TEMPORARY = ".part"
"""What the name of a file ends with while it is written."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place, waits until the disk has it, and then moves it there.

    Over what may have been there before; a link stays, and what it leads to is replaced. The folders it is to
    be in are made where they are missing. What is there and no file (``/dev/stdout``, a named pipe) can't be
    replaced, and is written to as it is.

    Raises:
        VitcamError: it can't be written, for example because the disk is full; nothing is left of it then.
        BrokenPipeError: whoever read the pipe no longer does.

    Example:
        >>> write_whole(Path("maps/note.txt"), b"a cat")
        >>> Path("maps/note.txt").read_text()
        'a cat'
    """
    try:
        special = path.exists() and not path.is_file()
    except OSError as error:  # too long a name, or no right to look
        raise VitcamError(f"can't write {path}: {error.strerror or error}") from error
    if special:
        _write_to(path, content)
        return
    _make(path.parent)
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    # not tempfile: its files can be read by their owner alone, and stay so when moved
    part = place.with_name(f".{place.name}.{os.getpid()}{TEMPORARY}")
    try:
        write_durably(part, content)
        part.replace(place)
        _sync_folder(place.parent)
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


def _write_to(device: Path, content: bytes) -> None:
    try:
        with device.open("wb") as file:
            file.write(content)
    except BrokenPipeError:  # as in `… | head`: for the program to end on, as programs do
        raise
    except OSError as error:
        raise VitcamError(f"can't write {device}: {error.strerror or error}") from error


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
    except OSError as error:
        # some networks' file systems can't
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)

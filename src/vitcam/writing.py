"""Files that are there whole, or not at all, whatever happens while they are written; and where they may be put."""

from __future__ import annotations

import errno
import os
import re
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


def check_place(file: Path, error: type[VitcamError]) -> None:
    """Refuses a place where no file can be written, before the work that would be lost.

    Args:
        file: what is to be written.
        error: of which kind.

    Raises:
        VitcamError: of that kind: it is a folder, or in none that can be written into.

    Example:
        >>> check_place(Path("maps/note.txt"), VitcamError)
        >>> check_place(Path("things"), VitcamError)
        Traceback (most recent call last):
        vitcam.errors.VitcamError: can't write things: it is a folder
    """
    try:
        if file.is_dir():
            raise error(f"can't write {file}: it is a folder")
        if file.exists() and not file.is_file():  # a pipe or a device
            return
        nearest = next(folder for folder in file.absolute().parents if folder.exists())
    except OSError as problem:  # too long a name, or no right to look
        raise error(f"can't write {file}: {problem.strerror or problem}") from problem
    if not nearest.is_dir():
        raise error(f"can't write {file}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        raise error(f"can't write {file}: {nearest} can't be written into")


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


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def check_local(path: str | Path, what: str, error: type[VitcamError]) -> None:
    """Refuses ``s3://bucket/run`` and the like, of which a folder called ``s3:`` would be made.

    Args:
        path: what the user gave.
        what: it is to be, for the message.
        error: of which kind.

    Raises:
        VitcamError: of that kind: it is an address.

    Example:
        >>> check_local("runs/first", "a run's folder", VitcamError)
        >>> check_local("s3://bucket/run", "a run's folder", VitcamError)
        Traceback (most recent call last):
        vitcam.errors.VitcamError: s3://bucket/run is an address, ...
    """
    text = str(path)
    found = _ADDRESS.match(text)
    if found is None or os.path.exists(text):  # noqa: PTH110  Path.exists raises for a name that is too long
        return
    address = text if "://" in text else text.replace(":/", "://", 1)  # pathlib has made one of two slashes
    if found[1].lower() == "file":
        remedy = f"give the path alone, {address[len('file://') :]}"
    else:
        remedy = (
            "nothing is read from or written to object stores or other servers directly: mount it (s3fs, gcsfuse, "
            "blobfuse), or work in a local folder and copy that"
        )
    raise error(
        f"{address} is an address, but {what} must be a folder of this machine's file systems; {remedy}"
    )

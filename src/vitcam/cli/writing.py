"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vitcam.errors import VitcamError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and then moves it there, over what may have been there before.

    The folders it is to be in are made where they are missing.

    Raises:
        VitcamError: it can't be written, for example because the disk is full; nothing is left of it then.
    """
    _make(path.parent)
    # not tempfile: its files can be read by their owner alone, and stay so when moved
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise VitcamError(f"can't write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # once it is moved, it isn't there
            part.unlink()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise VitcamError(f"can't write into {folder}: it is a file, not a folder") from error
    except OSError as error:
        raise VitcamError(f"can't make the folder {folder}: {error.strerror}") from error

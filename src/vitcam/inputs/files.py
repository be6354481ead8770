"""What reading files of all kinds has in common: whether there is one, who reads it, and its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitcam.errors import ImageError, VitcamError
from vitcam.images import check_file, check_path
from vitcam.inputs.kind import Array


class Files(NamedTuple):
    """The files that a model reads: what they are, in the plural, and what their names end with, in small letters.

    Example:
        >>> vitcam.SoundPreprocessing.files.what, ".flac" in vitcam.SoundPreprocessing.files.suffixes
        ('sounds', True)
    """

    what: str
    suffixes: frozenset[str]


def checked_path(source: Any, what: str, suffixes: frozenset[str]) -> Path:
    """The path of a file that is there, and whose name says that it is of a kind.

    Args:
        source: what the user gave.
        what: it should be, for the messages.
        suffixes: what such names end with.

    Raises:
        ImageError: it is no path, there is no file, or its name says otherwise.
    """
    if not isinstance(source, str | Path):
        raise ImageError(
            f"this model takes {what}: expected the path of a file, or a tensor as the model takes it; got a "
            f"{type(source).__name__}"
        )
    check_path(str(source))
    path = Path(source)
    check_file(path, f"the file of {what}")
    if not path.name.lower().endswith(tuple(suffixes)):
        raise ImageError(
            f"{path}: this model takes {what}, whose files end in {', '.join(sorted(suffixes))}. Give one of these, "
            "or a tensor as the model takes it"
        )
    return path


def reader(module: str, extra: str, what: str) -> Any:
    """A package that reads files, which not everyone needs.

    Raises:
        ImageError: it isn't installed, or lacks something itself.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library of the system that it needs
        raise ImageError(
            f"{what} are read by {module}, which can't be imported ({error}): pip install 'vitcam[{extra}]'"
        ) from error


@contextmanager
def in_words(path: Path, what: str) -> Iterator[None]:
    """Inside, whatever a reader raises is an error that says which file can't be read."""
    try:
        yield
    except VitcamError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: there isn't enough memory to read it") from error
    except Exception as error:  # on a broken file, decoders raise nearly anything
        raise ImageError(
            f"{path} can't be read as {what} ({type(error).__name__}: {error}): it is truncated, damaged or of "
            "another kind"
        ) from error


def check_values(values: Array, path: Path, what: str) -> None:
    """Refuses values of which no map would mean anything.

    Raises:
        ImageError: some aren't finite, or all are the same.
    """
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ImageError(f"{path} holds {bad:,} {what} that are NaN or infinite, of {values.size:,}")
    if values.size == 0 or values.min() == values.max():
        raise ImageError(
            f"{path} is empty: "
            + (f"all of its {what} are {values.flat[0]:g}" if values.size else f"it has no {what}")
        )

"""What is in a file that is open."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

from vitcam.errors import ImageError

MAX_BYTES = 2**30
"""Of an open file, which may be endless."""


@runtime_checkable
class OpenFile(Protocol):
    """What can be read from: a file that is open, ``io.BytesIO``, an answer from the network."""

    def read(self, size: int, /) -> bytes: ...


def is_open_file(source: Any) -> TypeGuard[OpenFile]:
    """Whether it can be read from. PIL's images can't.

    Example:
        >>> with open("things/cat/0.jpg", "rb") as file:
        ...     is_open_file(file), is_open_file("photo.jpg")
        (True, False)
    """
    return isinstance(source, OpenFile)


def content_of(file: Any) -> bytes:
    """All that is in an open file, which is left where it was; of one that can't be wound back, what is to come.

    Raises:
        ImageError: it is closed, a file of text, can't be read, or has more than ``MAX_BYTES``.

    Example:
        >>> with open("things/cat/0.jpg", "rb") as file:
        ...     content_of(file) == content_of(file) == Path("things/cat/0.jpg").read_bytes()
        True
    """
    name = name_of(file)
    try:
        place = file.tell() if getattr(file, "seekable", bool)() else None
        if place is not None:
            file.seek(0)
        content = file.read(MAX_BYTES + 1)
        if place is not None:
            file.seek(place)
    except (
        OSError,
        ValueError,
        UnicodeError,
    ) as error:  # ValueError: it is closed; UnicodeError: it is of text
        raise ImageError(f"{name} can't be read: {error}. Open it by open(path, 'rb').") from error
    if not isinstance(content, bytes):
        raise ImageError(f"{name} is open for reading text: open it by open(path, 'rb').")
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name} has more than {MAX_BYTES:,} bytes; expected an image file.")
    return content


def name_of(file: Any) -> str:
    """What an open file is called, for messages.

    Example:
        >>> with open("things/cat/0.jpg", "rb") as file:
        ...     name_of(file)
        'things/cat/0.jpg'
    """
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else f"the open {type(file).__name__}"

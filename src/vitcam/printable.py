"""Text for people: that of others, such as names of files and classes, made harmless for a terminal; and shares."""

from __future__ import annotations

import re
from typing import Any

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed: escape sequences begin with them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what follows
    "\u2028\u2029"  # separators that some terminals break lines at
    "\ud800-\udfff]"  # bytes of a file's name that are no UTF-8
)


def printable(text: str) -> str:
    """The text with a visible sign in the place of each character that a terminal would act on.

    Tabs and line feeds stay.

    Example:
        >>> print(printable("cat\\x1b[31m.jpg"))
        cat␛[31m.jpg
    """
    return _ACTING.sub(_sign, text)


def one_line(text: str) -> str:
    """The same, with signs also in the place of tabs and line feeds: for names in a table.

    Example:
        >>> one_line("cat\\n.jpg")
        'cat␊.jpg'
    """
    return printable(text).replace("\n", "␊").replace("\t", "␉")


def percent(share: float) -> str:
    """A share of one, for people.

    Example:
        >>> percent(0.4567), percent(0.0004)
        ('45.7 %', '<0.1 %')
    """
    return "<0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def no_formula(value: Any) -> Any:
    """A text that spreadsheets would take for a formula, with the mark that makes them take it as it is.

    Example:
        >>> no_formula("=1+1"), no_formula("cat"), no_formula(-0.5)
        ("'=1+1", 'cat', -0.5)
    """
    acts = isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    return f"'{value}" if acts else value


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's pictures of the control characters
    return "␡" if code == 0x7F else "�"


class PrintableStream:
    """What others write to a stream, made printable; to them it is no terminal, so that they don't colour it.

    Args:
        stream: where it goes: like ``sys.stderr``.

    Example:
        >>> import sys
        >>> PrintableStream(sys.stdout).write("\\x1b[2Jcat\\n")
        ␛[2Jcat
        8
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

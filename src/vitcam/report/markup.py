"""HTML that is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, TypeAlias

Content: TypeAlias = str | Iterable[Any] | None
"""Text, elements, or nested lists of them."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


_EMPTY = frozenset({"img", "meta", "br", "col"})


def element(tag: str, *contents: Content, **attributes: str | int | float | bool | None) -> Markup:
    """An HTML element.

    Args:
        tag: its name.
        contents: elements, and text, which is escaped; also nested lists of them.
        attributes: their values are escaped; ``class_`` stands for ``class`` and ``_`` for ``-``. True gives
            an attribute without a value, None and False none at all.

    Example:
        >>> element("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(contents)}</{tag}>")


def join(contents: Content) -> Markup:
    """Contents one after the other, text escaped."""
    if contents is None:
        return Markup()
    if isinstance(contents, Markup):
        return contents
    if isinstance(contents, str):
        return Markup(html.escape(contents, quote=False))
    return Markup("".join(map(join, contents)))


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")

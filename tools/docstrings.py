"""From docstrings as vitcam writes them to what the site understands: an extension of griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|attr):(?=`)")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_LITERAL = re.compile(r"(?<=\S)::$|^::\n", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Names the section of examples as griffe has it; drops Sphinx's roles and marks of literal blocks."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(docstring: str) -> str:
    """A docstring that is Markdown."""
    text = _EXAMPLE.sub("Examples:", _ROLE.sub("", docstring))
    return _LITERAL.sub(lambda match: ":" if match[0] == "::" else "", text)

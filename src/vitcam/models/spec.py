"""A model's specification, ``SCHEME:NAME`` or ``SCHEME:NAME@FILE``, taken apart. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vitcam.errors import ModelError
from vitcam.models.sources import SOURCES

LONGEST_NAME = 255
"""Bytes of a file's name: what file systems allow."""

_WITH_FILE = frozenset({"timm", "torchvision", "open_clip"})


@dataclass(frozen=True)
class Spec:
    """A model's specification.

    Attributes:
        scheme: the vendor: a key of ``SOURCES``.
        name: the vendor's name for the model; for ``hf`` an id or a folder.
        file: a local checkpoint, or None.
    """

    scheme: str
    name: str
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}" + (f"@{self.file}" if self.file else "")

    def split_name(self) -> tuple[str, str | None]:
        """(architecture, tag) of a name such as ``ViT-B-32/laion2b_s34b_b79k``; the tag may be missing."""
        architecture, _, tag = self.name.partition("/")
        return architecture, tag or None


def parse_spec(text: str) -> Spec:
    """Takes a model's specification apart.

    Raises:
        ModelError: it has no scheme, an unknown one, no name, or an empty file.

    Example:
        >>> parse_spec("timm:vit_tiny_patch16_224@mine.safetensors")
        Spec(scheme='timm', name='vit_tiny_patch16_224', file='mine.safetensors')
    """
    scheme, colon, rest = text.strip().partition(":")
    if not colon or scheme not in SOURCES:
        patterns = "\n".join(f"  {pattern}" for source in SOURCES.values() for pattern in source.patterns)
        problem = f"the scheme {scheme!r} is unknown" if colon else "it doesn't say where the model is from"
        raise ModelError(
            f"Can't load the model {text!r}: {problem}. A model is written as one of\n{patterns}"
        )
    name, at, file = rest.partition("@") if scheme in _WITH_FILE else (rest, "", "")
    if not name or (at and not file):
        expected = " or ".join(SOURCES[scheme].patterns)
        raise ModelError(f"Can't load the model {text!r}: it is incomplete. Expected {expected}.")
    return Spec(scheme, name, file or None)


def split_head(spec: str) -> tuple[str, Path | None]:
    """A model's specification taken apart from the head behind it.

    Raises:
        ModelError: a name in it is longer than that of any model or file.

    Example:
        >>> split_head("timm:vit_base_patch16_224+birds.safetensors")
        ('timm:vit_base_patch16_224', PosixPath('birds.safetensors'))
    """
    if any(len(name.encode(errors="replace")) > LONGEST_NAME for name in re.split("[:@/+]", spec)):
        raise ModelError(
            f"Can't load the model {spec[:40]!r}…: a name in it has more than {LONGEST_NAME} bytes, as no model and "
            "no file has."
        )
    parts = spec.split("+")
    # any of the paths may hold a plus sign, too: what exists decides
    splits = [("+".join(parts[:at]), _path("+".join(parts[at:]))) for at in range(1, len(parts))]
    splits = [(model, head) for model, head in splits if head.suffix == ".safetensors"]
    existing = [(model, head) for model, head in splits if head.is_file()]
    if existing:
        return existing[0]
    if not splits or Path(spec.partition("@")[2]).is_file():
        return spec, None
    return splits[-1]


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path.expanduser raises for the home of nobody known


def unknown_name(spec: Spec, name: str, known: Iterable[str], what: str = "model") -> ModelError:
    """The error for a name that the vendor doesn't have, with the nearest that it has."""
    choices = list(known)
    nearest = ", ".join(get_close_matches(name, choices, n=3, cutoff=0.5) or choices[:3]) or "none"
    return ModelError(f"Can't load {spec}: {spec.scheme} has no {what} called {name!r}. Nearest: {nearest}.")

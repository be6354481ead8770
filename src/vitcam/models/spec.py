"""A model's specification, ``SCHEME:NAME`` or ``SCHEME:NAME@FILE``, taken apart. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from vitcam.errors import ModelError
from vitcam.models.sources import SOURCES
from vitcam.registry import split_reference

LONGEST_NAME = 255
"""Bytes of a file's name: what file systems allow."""


@dataclass(frozen=True)
class Spec:
    """A model's specification.

    Attributes:
        scheme: the vendor: a key of ``SOURCES``, or ``module:object``.
        name: the vendor's name for the model; for ``hf`` an id or a folder; "" for ``module:object`` alone.
        file: a local checkpoint, or None.
    """

    scheme: str
    name: str
    file: str | None = None

    def __str__(self) -> str:
        return self.scheme + (f":{self.name}" if self.name else "") + (f"@{self.file}" if self.file else "")

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
    text = text.strip()
    scheme, colon, rest = text.partition(":")
    if scheme not in SOURCES and scheme not in SOURCES.broken:
        reference, name = split_reference(text)
        if reference and _exists(scheme):
            SOURCES.find(reference)
            return Spec(reference, name)
        patterns = "\n".join(f"  {pattern}" for source in SOURCES.values() for pattern in source.patterns)
        problem = f"the scheme {scheme!r} is unknown" if colon else "it doesn't say where the model is from"
        raise ModelError(
            f"Can't load the model {text!r}: {problem}.{_hint(text)} A model is written as one of\n{patterns}\n"
            "  MODULE:OBJECT, a function of yours that returns a model"
        )
    source = SOURCES.find(scheme)
    name, at, file = rest.partition("@") if source.takes_file else (rest, "", "")
    if (not name and (colon or scheme in SOURCES.ours)) or (at and not file):
        expected = " or ".join(source.patterns)
        raise ModelError(f"Can't load the model {text!r}: it is incomplete. Expected {expected}.")
    return Spec(scheme, name, file or None)


def _exists(module: str) -> bool:
    """Whether there is such a module, as far as can be told without importing it."""
    top = module.partition(".")[0]
    return find_spec(top) is not None or any((Path.cwd() / each).exists() for each in (top, f"{top}.py"))


def _hint(text: str) -> str:
    """What a person would guess was meant by a name without its vendor."""
    name = text.partition(":")[2] or text
    if name.partition("/")[0] in ("google", "facebook", "openai", "microsoft") or name.count("/") == 1:
        return f" Did you mean hf:{name}?"
    if re.fullmatch(r"(vit|deit3?|beit|eva|swin)[a-z]*_[\w.]+", name):
        return f" Did you mean {'torchvision' if re.fullmatch(r'vit_[blh]_[0-9]+', name) else 'timm'}:{name}?"
    near = SOURCES.nearest(text.partition(":")[0]) if ":" in text else None
    return f" Did you mean {near}:{name}?" if near else ""


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

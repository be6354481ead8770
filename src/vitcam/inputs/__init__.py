"""Kinds of input, each a declaration: how a model takes it, where its places are, how a map on it is drawn."""

from __future__ import annotations

from pathlib import Path

from vitcam.inputs.kind import InputKind
from vitcam.inputs.picture import PICTURE
from vitcam.inputs.sound import SOUND
from vitcam.inputs.telling import arranged_as_picture, arranged_shape, takes_pictures, told
from vitcam.inputs.video import VIDEO
from vitcam.inputs.volume import VOLUME

KINDS: dict[str, InputKind] = {kind.name: kind for kind in (PICTURE, VIDEO, SOUND, VOLUME)}

__all__ = [
    "KINDS",
    "PICTURE",
    "SOUND",
    "VIDEO",
    "VOLUME",
    "InputKind",
    "arranged_as_picture",
    "arranged_shape",
    "kind_of",
    "takes_pictures",
    "told",
]


def kind_of(file: str | Path) -> InputKind | None:
    """Which kind of input a file is of, by its name; None if it says nothing of that.

    Example:
        >>> kind_of("bird.WAV").name, kind_of("scan.nii.gz").name, kind_of("cat.jpg").name, kind_of("cat")
        ('sound', 'volume', 'picture', None)
    """
    name = str(file).lower()
    return next((kind for kind in KINDS.values() if name.endswith(tuple(kind.suffixes))), None)

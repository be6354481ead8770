"""Kinds of input, each a declaration: how a model takes it, where its places are, how a map on it is drawn."""

from __future__ import annotations

from vitcam.inputs.kind import InputKind
from vitcam.inputs.picture import PICTURE
from vitcam.inputs.sound import SOUND
from vitcam.inputs.telling import arranged_as_picture, takes_pictures, told
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
    "takes_pictures",
    "told",
]

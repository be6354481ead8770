"""Models of every vendor, loaded the same way. Importing this imports neither torch nor a vendor."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitcam.models.sources import ModelSource, describe_models
from vitcam.models.spec import Spec, parse_spec

if TYPE_CHECKING:
    from vitcam.models.load import load_model
    from vitcam.models.loaded import LoadedModel
    from vitcam.models.preprocessing import Preprocessing

_LAZY = {
    "LoadedModel": "vitcam.models.loaded",
    "Preprocessing": "vitcam.models.preprocessing",
    "load_model": "vitcam.models.load",
}

__all__ = [
    "LoadedModel",
    "ModelSource",
    "Preprocessing",
    "Spec",
    "describe_models",
    "load_model",
    "parse_spec",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

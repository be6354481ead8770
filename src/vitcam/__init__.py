"""vitcam: where a Vision Transformer looks when it decides, and which explanation deserves trust.

The public names are imported when they are first used, so that ``import vitcam`` itself is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitcam.errors import VitcamError
    from vitcam.explaining import compare, explain
    from vitcam.explanation import Explanation
    from vitcam.models import LoadedModel, Preprocessing, load_model
    from vitcam.types import Box, PatchGrid

__version__ = "0.1.0"

_ROOMS = {
    "compare": "vitcam.explaining",
    "explain": "vitcam.explaining",
    "Explanation": "vitcam.explanation",
    "LoadedModel": "vitcam.models",
    "Preprocessing": "vitcam.models",
    "load_model": "vitcam.models",
    "Box": "vitcam.types",
    "PatchGrid": "vitcam.types",
    "VitcamError": "vitcam.errors",
}

__all__ = [
    "Box",
    "Explanation",
    "LoadedModel",
    "PatchGrid",
    "Preprocessing",
    "VitcamError",
    "__version__",
    "compare",
    "explain",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'vitcam' has no attribute {name!r}")
    value = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""vitcam: where a Vision Transformer looks when it decides, and which explanation deserves trust.

The public names are imported when they are first used, so that ``import vitcam`` itself is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.decomposing import Decomposition, decompose
    from vitcam.errors import VitcamError
    from vitcam.explaining import compare, explain
    from vitcam.explanation import Comparison, Explanation, figure, load
    from vitcam.inspecting import Inspection, inspect
    from vitcam.models import LoadedModel, Preprocessing, load_model, wrap
    from vitcam.single_heads import attention_heads
    from vitcam.types import Box, PatchGrid

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Comparison",
    "Decomposition",
    "Explanation",
    "Inspection",
    "LoadedModel",
    "PatchGrid",
    "Preprocessing",
    "VitcamError",
    "__version__",
    "attention_heads",
    "compare",
    "decompose",
    "explain",
    "figure",
    "inspect",
    "load",
    "load_model",
    "wrap",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "attention_heads": "vitcam.single_heads",
        "compare": "vitcam.explaining",
        "decompose": "vitcam.decomposing",
        "Decomposition": "vitcam.decomposing",
        "explain": "vitcam.explaining",
        "Explanation": "vitcam.explanation",
        "Comparison": "vitcam.explanation",
        "figure": "vitcam.explanation",
        "load": "vitcam.explanation",
        "inspect": "vitcam.inspecting",
        "Inspection": "vitcam.inspecting",
        "LoadedModel": "vitcam.models",
        "Preprocessing": "vitcam.models",
        "load_model": "vitcam.models",
        "wrap": "vitcam.models",
        "Box": "vitcam.types",
        "PatchGrid": "vitcam.types",
        "VitcamError": "vitcam.errors",
    },
)

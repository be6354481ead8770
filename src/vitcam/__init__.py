"""vitcam: where a Vision Transformer looks when it decides, and which explanation deserves trust.

The public names are imported when they are first used, so that ``import vitcam`` itself is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.answers import detections, matching, next_token, region, similar_to, value
    from vitcam.errors import VitcamError, VitcamWarning
    from vitcam.explaining import (
        Decomposition,
        Explanation,
        Inspection,
        animation,
        attention_heads,
        decompose,
        figure,
        inspect,
        load,
    )
    from vitcam.explaining.explain import Comparison, compare, explain
    from vitcam.explaining.several import explain_each
    from vitcam.models import (
        BandPreprocessing,
        ClipPreprocessing,
        LoadedModel,
        Preprocessing,
        SoundPreprocessing,
        VolumePreprocessing,
        load_model,
        wrap,
    )
    from vitcam.types import Box, PatchGrid

__version__ = "0.1.0"

__all__ = [
    "BandPreprocessing",
    "Box",
    "ClipPreprocessing",
    "Comparison",
    "Decomposition",
    "Explanation",
    "Inspection",
    "LoadedModel",
    "PatchGrid",
    "Preprocessing",
    "SoundPreprocessing",
    "VitcamError",
    "VitcamWarning",
    "VolumePreprocessing",
    "__version__",
    "animation",
    "attention_heads",
    "compare",
    "decompose",
    "detections",
    "explain",
    "explain_each",
    "figure",
    "inspect",
    "load",
    "load_model",
    "matching",
    "next_token",
    "region",
    "similar_to",
    "value",
    "wrap",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "animation": "vitcam.explaining",
        "attention_heads": "vitcam.explaining",
        "compare": "vitcam.explaining",
        "decompose": "vitcam.explaining",
        "detections": "vitcam.answers",
        "matching": "vitcam.answers",
        "next_token": "vitcam.answers",
        "region": "vitcam.answers",
        "similar_to": "vitcam.answers",
        "value": "vitcam.answers",
        "Decomposition": "vitcam.explaining",
        "explain": "vitcam.explaining",
        "explain_each": "vitcam.explaining",
        "Explanation": "vitcam.explaining",
        "Comparison": "vitcam.explaining",
        "figure": "vitcam.explaining",
        "load": "vitcam.explaining",
        "inspect": "vitcam.explaining",
        "Inspection": "vitcam.explaining",
        "LoadedModel": "vitcam.models",
        "BandPreprocessing": "vitcam.models",
        "ClipPreprocessing": "vitcam.models",
        "Preprocessing": "vitcam.models",
        "SoundPreprocessing": "vitcam.models",
        "VolumePreprocessing": "vitcam.models",
        "load_model": "vitcam.models",
        "wrap": "vitcam.models",
        "Box": "vitcam.types",
        "PatchGrid": "vitcam.types",
        "VitcamError": "vitcam.errors",
        "VitcamWarning": "vitcam.errors",
    },
)

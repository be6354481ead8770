"""Models of every vendor, loaded the same way. Importing this imports neither torch nor a vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names
from vitcam.models.sources import SOURCES, ModelSource, describe_models, find_models
from vitcam.models.spec import Spec, parse_spec

if TYPE_CHECKING:
    from vitcam.models.bands import BandPreprocessing
    from vitcam.models.clips import ClipPreprocessing
    from vitcam.models.load import load_model
    from vitcam.models.loaded import LoadedModel
    from vitcam.models.preprocessing import Preprocessing
    from vitcam.models.sounds import SoundPreprocessing
    from vitcam.models.volumes import VolumePreprocessing
    from vitcam.models.wrapping import wrap

__all__ = [
    "SOURCES",
    "BandPreprocessing",
    "ClipPreprocessing",
    "LoadedModel",
    "ModelSource",
    "Preprocessing",
    "SoundPreprocessing",
    "Spec",
    "VolumePreprocessing",
    "describe_models",
    "find_models",
    "load_model",
    "parse_spec",
    "wrap",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BandPreprocessing": "vitcam.models.bands",
        "ClipPreprocessing": "vitcam.models.clips",
        "LoadedModel": "vitcam.models.loaded",
        "Preprocessing": "vitcam.models.preprocessing",
        "SoundPreprocessing": "vitcam.models.sounds",
        "VolumePreprocessing": "vitcam.models.volumes",
        "load_model": "vitcam.models.load",
        "wrap": "vitcam.models.wrapping",
    },
)

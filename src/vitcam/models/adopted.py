"""The preprocessing that a user gives, of whatever library, as one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.inputs import InputKind
from vitcam.models.measured import Prepare, measured_preprocessing
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.sounds import sound_preprocessing
from vitcam.models.undeclared import Undeclared

# A field that is given any preprocessing and holds one of ours.
if TYPE_CHECKING:
    Adopted = Preprocessing
else:
    Adopted = Any


def adopted_preprocessing(given: Any, *, of_frames: bool = False) -> Adopted:
    """A ``Preprocessing`` from one, or from what other libraries call so.

    Args:
        given: a Hugging Face image processor (or a processor that has one), a transform of torchvision, timm or
            open_clip, or any other function from an RGB PIL image to a float tensor (3, height, width); of clips, the
            processor of one frame; a feature extractor of sounds; None where there is none, and tensors alone will
            be explained.

        of_frames: whether it prepares the frames of clips, as processors of clips do with several at once.

    Raises:
        ModelError: it is none of these, or what it does can't be declared.

    Example:
        >>> adopted_preprocessing(Preprocessing.paper()) == Preprocessing.paper()
        True
    """
    if isinstance(getattr(given, "kind", None), InputKind):  # ours, of whatever kind of input
        ours: Preprocessing = given
        return ours
    if given is None:
        return Undeclared()
    processor = getattr(given, "image_processor", given)
    name = type(processor).__name__
    if "pixel_values" in getattr(processor, "model_input_names", ()):
        return measured_preprocessing(_by_processor(processor, of_frames), name)
    if "input_values" in getattr(given, "model_input_names", ()):
        of_sounds: Any = sound_preprocessing(given)
        adopted: Preprocessing = of_sounds
        return adopted
    if not callable(given):
        raise ModelError(
            "the preprocessing of a LoadedModel must be a vitcam.Preprocessing, a Hugging Face image processor, a "
            f"function from a PIL image to a tensor (such as torchvision's transforms), or None; got {given!r:.100}"
        )
    return measured_preprocessing(given, getattr(given, "__name__", name))


def _by_processor(processor: Any, of_frames: bool) -> Prepare:
    def prepare(image: Image.Image) -> Tensor:
        values: Tensor = processor(images=image, return_tensors="pt")["pixel_values"]
        if values.dim() == 5 and not of_frames:
            raise ModelError(
                f"{type(processor).__name__} prepares clips: give LoadedModel vitcam.ClipPreprocessing(frames=…, "
                "picture=…), with it as the picture"
            )
        return values.flatten(0, -4)[0]  # of a clip of one frame, too

    return prepare

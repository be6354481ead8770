"""What a Hugging Face image processor does, declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from vitcam.errors import ModelError
from vitcam.models.preprocessing import Arithmetic, Preprocessing
from vitcam.models.spec import Spec

_ARITHMETICS: tuple[Arithmetic, ...] = ("uint8", "float32")


def processor_preprocessing(spec: Spec, processor: Any) -> Preprocessing:
    """The declaration that gives what an image processor gives, proven on two small images.

    Raises:
        ModelError: none does.
    """
    for declared in _candidates(processor.to_dict()):
        if all(_agree(declared, processor, *shape) for shape in ((97, 72), (72, 97))):
            return declared
    raise ModelError(
        f"Can't load {spec}: its image processor ({type(processor).__name__}) prepares images in a way that "
        f"vitcam has no words for. Load the model yourself, and declare what its input is: "
        f"LoadedModel(module, Preprocessing(size=…, mean=…, std=…))."
    )


def _candidates(settings: Mapping[str, Any]) -> Iterator[Preprocessing]:
    resize = _height_and_width(settings.get("size"))
    cropped = settings.get("do_center_crop")
    size = _height_and_width(settings.get("crop_size")) if cropped else resize
    if resize is None or size is None or not settings.get("do_resize"):
        return
    normalized = settings.get("do_normalize")
    for arithmetic in _ARITHMETICS:
        yield Preprocessing(
            size=size,
            mean=tuple(settings["image_mean"]) if normalized else (0.0, 0.0, 0.0),
            std=tuple(settings["image_std"]) if normalized else (1.0, 1.0, 1.0),
            interpolation=Image.Resampling(settings["resample"]).name.lower(),  # type: ignore[arg-type]  # PIL's names are ours
            resize_mode="shortest" if "shortest_edge" in settings["size"] else "squash",
            resize=resize,
            arithmetic=arithmetic,
        )


def _height_and_width(size: Mapping[str, int] | None) -> tuple[int, int] | None:
    size = size or {}
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    if "height" in size and "width" in size:
        return size["height"], size["width"]
    return None


def _agree(declared: Preprocessing, processor: Any, width: int, height: int) -> bool:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    theirs = processor(images=image, return_tensors="pt")["pixel_values"][0]
    ours = declared(image)
    # far below one step of 1/255 after division by any usual standard deviation
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-3)

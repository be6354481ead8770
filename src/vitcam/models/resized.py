"""Models for pictures of another size than they were made for."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

from torch import nn

from vitcam.errors import ModelError
from vitcam.models.preprocessing import Preprocessing


def resized_preprocessing(preprocessing: Preprocessing, size: tuple[int, int]) -> Preprocessing:
    """The same for another size; what a photograph is resized to before the crop grows with it.

    Example:
        >>> declared = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, resize=(256, 256))
        >>> resized_preprocessing(declared, (448, 224)).resize
        (512, 256)
    """
    (height, width), before = preprocessing.size, preprocessing.resize
    resize = (
        None if before is None else (round(before[0] * size[0] / height), round(before[1] * size[1] / width))
    )
    return replace(preprocessing, size=size, resize=resize)


def resized_module(module: nn.Module, size: tuple[int, int]) -> nn.Module:
    """A module that takes images of a size: timm's are copied, their position embeddings interpolated as timm does.

    Those that take any size anyway are returned as they are, and so are those of other libraries, of which it isn't
    known.

    Raises:
        ModelError: timm's own function refuses the size.

    Example:
        >>> import timm
        >>> larger = resized_module(timm.create_model("vit_tiny_patch16_224", depth=1), (448, 224))
        >>> larger(torch.zeros(1, 3, 448, 224)).shape
        torch.Size([1, 1000])
    """
    set_size: Any = getattr(module, "set_input_size", None)
    if getattr(module, "dynamic_img_size", False) or set_size is None:
        return module
    if "img_size" not in inspect.signature(set_size).parameters:
        return module
    changed = copy.deepcopy(module)
    try:
        changed.set_input_size(img_size=size)  # type: ignore[operator]  # of timm's models
    except Exception as error:  # timm asserts, and torch raises whatever a size makes impossible
        raise ModelError(
            f"{type(module).__name__} can't be made one of images {size[0]} high and {size[1]} wide: {error}. Sides "
            "must be multiples of its patches"
        ) from error
    return changed

"""From what a user calls images and inputs to the arguments of a model's forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vitcam.errors import ImageError, ModelError
from vitcam.recording import Inputs

MoreInputs = Mapping[str, Any] | None

PLACES_OF_PATCHES = {"patch_coord", "spatial_shapes"}
"""What timm and Hugging Face call the places of patches that a model is given in the place of pictures."""


class OneOfSeveral(dict[str, Any]):
    """Pictures by the names of forward's arguments, of which one is explained and the others are inputs."""

    def __init__(self, pictures: Mapping[str, Any], name: str) -> None:
        super().__init__(pictures)
        self.name = name


def unpacked(images: Any) -> tuple[Any, str | None, dict[str, Any]]:
    """The images, their name, and what came with them, of a dictionary such as a Hugging Face ``BatchFeature``.

    Raises:
        ImageError: which of its entries are the images can't be told, or they are patches already.

    Example:
        >>> pixels, name, more = unpacked({"pixel_values": images, "interpolate_pos_encoding": True})
        >>> name, more
        ('pixel_values', {'interpolate_pos_encoding': True})
    """
    if not isinstance(images, Mapping):
        return images, None, {}
    refuse_patches(images)
    if isinstance(images, OneOfSeveral):
        return images[images.name], images.name, {key: images[key] for key in images if key != images.name}
    pictures = [
        name
        for name, value in images.items()
        if isinstance(value, Tensor) and value.dim() in (4, 5) and value.is_floating_point()
    ]
    usual = next((name for name in ("pixel_values", "input_values") if name in images), None)
    name = usual if usual is not None else pictures[0] if len(pictures) == 1 else None
    if name is None:
        raise ImageError(
            "a dictionary of images must hold 'pixel_values', or exactly one float tensor (batch, 3, height, width); "
            f"it holds {', '.join(map(repr, images)) or 'nothing'}. Give the images as `images` and the others as "
            "inputs={…}"
        )
    return images[name], name, {key: value for key, value in images.items() if key != name}


def refuse_patches(arguments: Mapping[str, Any]) -> None:
    """Refuses pictures that are cut into patches already, of which each may have other places (NaFlex).

    Raises:
        ImageError: there is an argument that says where patches lie.
    """
    if found := sorted(PLACES_OF_PATCHES & arguments.keys()):
        raise ImageError(
            f"{found[0]!r} says where patches of a picture lie that is cut up already (NaFlex), and vitcam lays maps "
            "on whole pictures: give them as (batch, 3, height, width), which timm's NaFlexVit takes in any size "
            "whose sides are multiples of its patches. Models of patches alone (Siglip2VisionModel) have no maps"
        )


def inputs_of(module: nn.Module, name: str | None, given: Sequence[Mapping[str, Any]], images: int) -> Inputs:
    """The further arguments of a model, checked against its forward.

    Args:
        module: the model.
        name: of the argument that the images are, where it is known.
        given: the arguments, by name; in two parts where some came with the images.
        images: the number of images.

    Raises:
        ModelError: forward has no such argument, or one is given twice, the image included.
        ImageError: pictures aren't as many as images.

    Example:
        >>> inputs_of(torch.nn.Bilinear(2, 2, 2), None, [{"input2": torch.ones(8, 2)}], images=8).per_image.keys()
        dict_keys(['input2'])
    """
    arguments: dict[str, Any] = {}
    for part in given:
        if not isinstance(part, Mapping) or not all(isinstance(key, str) for key in part):
            raise ModelError(f"inputs are a dictionary from names of arguments to values; got {part!r:.100}")
        if twice := arguments.keys() & part.keys():
            raise ModelError(
                f"the input {sorted(twice)[0]!r} is given twice: with the images and as an input"
            )
        arguments |= part
    if not arguments and name is None:
        return Inputs()
    image = _image_argument(module, name, arguments)
    per_image = {key: value for key, value in arguments.items() if _is_per_image(value, images)}
    for key, value in arguments.items():
        if isinstance(value, Tensor) and value.dim() > 3 and len(value) not in (1, images):
            raise ImageError(
                f"the input {key!r} has shape {tuple(value.shape)}: its first dimension must be the number of "
                f"images, {images}, or 1"
            )
    shared = {key: value for key, value in arguments.items() if key not in per_image}
    return Inputs(image, per_image, shared).mapped(_plain)


def _image_argument(module: nn.Module, name: str | None, arguments: Mapping[str, Any]) -> str | None:
    """The name by which the images are passed; None if they are the first argument."""
    kind = inspect.Parameter
    parameters = inspect.signature(module.forward).parameters.values()
    named = [p.name for p in parameters if p.kind in (kind.POSITIONAL_OR_KEYWORD, kind.KEYWORD_ONLY)]
    anything = any(p.kind is kind.VAR_KEYWORD for p in parameters)
    first = next(iter(parameters), None)
    model = type(module).__name__
    if name is not None and name not in named and not anything:
        if name != "pixel_values":
            raise ModelError(
                f"{model} takes no argument {name!r} for the images; it takes {', '.join(named)}"
            )
        name = None
    if not anything and (unknown := [key for key in arguments if key not in named]):
        raise ModelError(f"{model} takes no input {unknown[0]!r}; it takes {', '.join(named)}")
    if name is None and "pixel_values" in named:
        name = "pixel_values"
    if name is None and first is not None and first.kind is kind.POSITIONAL_OR_KEYWORD:
        # The first argument, or where that is an input the next one that the model can't do without.
        needed = (p.name for p in parameters if p.name in named and p.default is kind.empty)
        left = [each for each in needed if each not in arguments]
        name = next(iter(left), first.name) if first.name in arguments else first.name
    if name in arguments:
        raise ModelError(
            f"the image is given twice: as `images` and as the input {name!r}. Leave out the input"
        )
    return None if first is not None and name == first.name else name


def _is_per_image(value: Any, images: int) -> bool:
    if isinstance(value, Tensor):
        return value.dim() > 0 and len(value) == images
    return isinstance(value, list) and len(value) == images


def _plain(tensor: Tensor) -> Tensor:
    """Detached, and no inference tensor, which autograd doesn't take."""
    plain = tensor.detach()
    return plain.clone() if plain.is_inference() else plain

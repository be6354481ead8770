"""What a function from photographs to a model's input does, found out by showing it pictures, and declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.models.preprocessing import Arithmetic, Interpolation, Preprocessing, ResizeMode

Prepare = Callable[[Image.Image], Tensor]
Size = tuple[int, int]

# (height, width) of the pictures shown. 256 steps of grey are exact on the long side.
_SHAPES: tuple[Size, Size] = ((192, 256), (256, 192))
_INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")
_ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)
_DECLARE = "declare what its input is: LoadedModel(module, vitcam.Preprocessing(size=…, mean=…, std=…))"


@dataclass(frozen=True)
class _Scale:
    """The values that black and white become, per channel; and the colour of a border, if there is one."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fill: tuple[int, int, int]


def measured_preprocessing(prepare: Prepare, name: str) -> Preprocessing:
    """The declaration that gives what a function gives.

    Black and white pictures tell its normalisation, ramps of grey its resize and crop; what is left is tried out.
    It is proven on two pictures of noise.

    Args:
        prepare: from an RGB photograph to a float tensor (3, height, width).
        name: for messages.

    Raises:
        ModelError: it gives something else, or not always the same, or no declaration does what it does.

    Example:
        >>> from torchvision.transforms import Compose, Resize, ToTensor
        >>> declared = measured_preprocessing(Compose([Resize((64, 64)), ToTensor()]), "Compose")
        >>> declared.size, declared.resize_mode
        ((64, 64), 'squash')
    """
    with torch.random.fork_rng(devices=[]):
        noise = [_noise(shape) for shape in ((72, 97), (97, 72))]
        expected = [_input(prepare, image, name) for image in noise]
        if not all(
            torch.equal(_input(prepare, image, name), one) for image, one in zip(noise, expected, strict=True)
        ):
            raise ModelError(
                f"{name} doesn't give the same input for the same photograph each time. Give LoadedModel the "
                f"preprocessing of evaluation, without random changes, or {_DECLARE}"
            )
        sizes = {tuple(one.shape[1:]) for one in expected}
        if len(sizes) > 1:
            raise ModelError(
                f"{name} gives inputs of several sizes ({', '.join(f'{h}×{w}' for h, w in sorted(sizes))}), by the "
                f"photograph's shape. Add a crop or resize to one size, or {_DECLARE}"
            )
        for declared in _candidates(prepare, name, expected[0].shape[1:]):
            if all(
                _agree(declared(image), one, declared.std) for image, one in zip(noise, expected, strict=True)
            ):
                return declared
    raise ModelError(
        f"{name} prepares images in a way that vitcam has no words for: it isn't a resize, a crop in the centre and "
        f"a normalisation. Prepare the photographs yourself and pass the tensor, or {_DECLARE}"
    )


def _candidates(prepare: Prepare, name: str, shape: torch.Size) -> Iterator[Preprocessing]:
    size = (shape[0], shape[1])
    scale = _scale(prepare, name)
    resized = [_resized(prepare, name, scale, shown) for shown in _SHAPES]
    for interpolation, arithmetic, (mode, resize) in product(
        _INTERPOLATIONS, _ARITHMETICS, _geometries(resized[0], resized[1], size)
    ):
        if arithmetic == "pil" or interpolation in ("nearest", "bilinear", "bicubic"):
            yield Preprocessing(
                size, scale.mean, scale.std, interpolation, mode, resize, scale.fill, arithmetic
            )


def _geometries(landscape: Size, portrait: Size, size: Size) -> list[tuple[ResizeMode, Size | None]]:
    """Ways to resize pictures of 192×256 and 256×192 to these sizes, or nearly: they are measured."""
    if max(abs(a - b) for a, b in zip(landscape, portrait, strict=True)) <= 1:
        steps = product((0, -1, 1), repeat=2)
        near = [(landscape[0] + down, landscape[1] + across) for down, across in steps]
        return [("squash", resize) for resize in (size, *near)]
    found: list[tuple[ResizeMode, Size | None]] = [("shortest", None), ("longest", None)]
    for step in (0, -1, 1):
        short, long = landscape[0] + step, landscape[1] + step
        found += [("shortest", (short, short)), ("longest", (long, long))]
    return found


def _scale(prepare: Prepare, name: str) -> _Scale:
    height, width = _SHAPES[0]
    black, white = (
        _input(prepare, Image.new("RGB", (width, height), colour), name) for colour in ("black", "white")
    )
    row, column = (length // 2 for length in black.shape[1:])
    low, high = black[:, row, column].double(), white[:, row, column].double()
    if not (high > low).all():
        raise ModelError(f"{name} makes white pixels no brighter than black ones; {_DECLARE}")
    std = 1 / (high - low)
    mean = -low * std
    border = torch.where(black[:, 0, 0] == white[:, 0, 0], black[:, 0, 0].double() * std + mean, 0)
    red, green, blue = (int(value) for value in (border * 255).round().clamp(0, 255))
    return _Scale(_three(mean), _three(std), (red, green, blue))


def _resized(prepare: Prepare, name: str, scale: _Scale, shown: Size) -> Size:
    """(height, width) to which a picture is resized before the crop: by how much slower a ramp of grey rises."""
    down, across = (
        np.broadcast_to(ramp, shown)
        for ramp in (np.linspace(0, 255, shown[0])[:, None], np.linspace(0, 255, shown[1])[None, :])
    )
    lengths = []
    for axis, ramp in enumerate((down, across)):
        pixels = np.repeat(ramp.round().astype(np.uint8)[:, :, None], 3, axis=2)
        prepared = _input(prepare, Image.fromarray(pixels), name)[0].double() * scale.std[0] + scale.mean[0]
        line = prepared[:, prepared.shape[1] // 2] if axis == 0 else prepared[prepared.shape[0] // 2]
        inside = ((line > 0.05) & (line < 0.95)).nonzero().flatten()
        if len(inside) < 3:
            raise ModelError(
                f"{name} shows so little of a photograph that it can't be found out where; {_DECLARE}"
            )
        slope = np.polyfit(inside.double().numpy(), line[inside].numpy(), 1)[0]
        # One pixel of the picture is 1 / (length - 1) of the ramp.
        lengths.append(max(1, round(1 / (slope * (shown[axis] - 1)) * shown[axis])))
    return lengths[0], lengths[1]


def _input(prepare: Prepare, image: Image.Image, name: str) -> Float[Tensor, "3 height width"]:
    try:
        prepared = prepare(image)
    except Exception as error:
        # Whatever it raises, its user needs to know what it was given.
        raise ModelError(
            f"{name}, given to LoadedModel as its preprocessing, failed on an RGB PIL image: {error}. It must take "
            f"one and return a float tensor (3, height, width). Or {_DECLARE}"
        ) from error
    if isinstance(prepared, Tensor) and prepared.dim() == 3 and len(prepared) == 3:
        return prepared.detach().as_subclass(Tensor).float()
    what = f"a tensor of shape {tuple(prepared.shape)}" if isinstance(prepared, Tensor) else type(prepared)
    raise ModelError(
        f"{name}, given to LoadedModel as its preprocessing, must turn a photograph into a float tensor "
        f"(3, height, width); it gave {what}. Or {_DECLARE}"
    )


def _agree(
    ours: Float[Tensor, "3 height width"],
    theirs: Float[Tensor, "3 height width"],
    std: tuple[float, float, float],
) -> bool:
    # Far below one step of 1/255.
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() * min(std) < 3e-4)


def _noise(shape: Size) -> Image.Image:
    pixels: UInt8[np.ndarray, "h w 3"] = np.random.default_rng(0).integers(
        0, 256, (*shape, 3), dtype=np.uint8
    )
    return Image.fromarray(pixels)


def _three(values: Float[Tensor, " 3"]) -> tuple[float, float, float]:
    red, green, blue = (round(value, 6) + 0.0 for value in values.tolist())
    return red, green, blue

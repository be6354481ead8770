"""From a photograph to a model's input: resize, centre crop, normalise, as the model's vendor does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Num, UInt8
from PIL import Image
from torch import Tensor

from vitcam.errors import ImageError
from vitcam.images import IMAGE_SUFFIXES, MAX_PIXELS, open_image
from vitcam.inputs import PICTURE, InputKind, kind_of
from vitcam.inputs.files import Files
from vitcam.inputs.limits import ReadingLimits
from vitcam.types import Box

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
ResizeMode = Literal["squash", "shortest", "longest"]
Arithmetic = Literal["pil", "uint8", "float32"]

MAX_RESIZED = 2**24
"""Pixels of a resized photograph. Resized with its shape kept, a very long one isn't small: only the crop is."""


@dataclass(frozen=True)
class Preprocessing:
    """How one model wants its images, declared; called on a photograph, it prepares it.

    :class:`ClipPreprocessing`, :class:`SoundPreprocessing`, :class:`VolumePreprocessing` and
    :class:`BandPreprocessing` are the same of other kinds of input.

    The photograph is resized, then cropped in the centre (or padded) to ``size``, then scaled to 0..1, and
    normalised with ``mean`` and ``std``. Every setting of timm's, torchvision's, open_clip's and Hugging
    Face's evaluation transforms for ViTs is expressible, and gives their values to float rounding.

    Attributes:
        size: (height, width) of the model's input, in pixels.
        mean: subtracted from each channel (red, green, blue), on the scale 0..1.
        std: each channel is divided by it, on the scale 0..1.
        interpolation: of the resize; always antialiased.
        resize_mode: "squash" resizes to ``resize`` whatever the photograph's shape; "shortest" keeps its
            shape and just covers ``resize``; "longest" keeps its shape and just fits into it.
        resize: (height, width) before the crop; None means ``size``: nothing is cropped but what
            "shortest" leaves over.
        fill: colour (0..255) of the border where the resized photograph is smaller than ``size``.
        arithmetic: what is resized: a PIL image (timm, torchvision, open_clip), or a tensor of ``uint8`` or
            ``float32`` (Hugging Face, whose centre crop also rounds its corner down).
        kind: of input that is prepared.
        files: that are read.
        order: of the axes of what is prepared, see :class:`vitcam.inputs.InputKind`.

    Example:
        >>> prepare = Preprocessing(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> prepare(Image.new("RGB", (640, 480))).shape
        torch.Size([3, 224, 224])
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    resize_mode: ResizeMode = "squash"
    resize: tuple[int, int] | None = None
    fill: tuple[int, int, int] = (0, 0, 0)
    arithmetic: Arithmetic = "pil"

    kind: ClassVar[InputKind] = PICTURE
    files: ClassVar[Files] = Files("photographs", IMAGE_SUFFIXES)
    order: ClassVar[tuple[int, ...]] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the model's input for one photograph."""
        return 3, *self.size

    def read(self, source: Any, limits: ReadingLimits | None = None) -> Image.Image:
        """A photograph, ready to be prepared: see :func:`vitcam.images.open_image`.

        Args:
            source: its file, or whatever else it can come from.
            limits: what reading it may cost, of whatever kind of input; None: no less than vitcam's readers allow.

        Raises:
            ImageError: it can't be opened, or is a file of another kind of input.

        Example:
            >>> Preprocessing.paper().read("things/cat/0.jpg").mode
            'RGB'
        """
        if isinstance(source, str | Path) and (other := kind_of(source)) not in (None, self.kind):
            raise ImageError(
                f"{source} is the file of a {other.name}, and this model takes photographs: load a model that takes "
                f"a {other.name}. https://vitcam.github.io/vitcam/inputs/ says how"
            )
        most = (
            MAX_PIXELS if limits is None else min(MAX_PIXELS, limits.memory // 12)
        )  # as floats, which some models resize
        return open_image(source, max_pixels=most)

    @classmethod
    def paper(cls) -> Preprocessing:
        """The AGCAM paper's protocol (arXiv 2402.04563): 224×224 whatever the shape, mean = std = 0.5.

        Example:
            >>> Preprocessing.paper().size
            (224, 224)
        """
        return cls(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        """The model's input for one RGB photograph.

        Raises:
            ImageError: the image is so elongated that its resized version wouldn't fit into memory.
        """
        pixels = self._pixels(image)
        scaled = pixels if pixels.is_floating_point() else pixels.float() / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (scaled - mean) / std

    def view(self, image: Image.Image) -> Image.Image:
        """What the model sees of an RGB photograph, as a picture of ``size``: all but the normalisation.

        Example:
            >>> Preprocessing.paper().view(Image.new("RGB", (640, 480))).size
            (224, 224)
        """
        pixels = self._pixels(image)
        if pixels.is_floating_point():
            pixels = (pixels.clamp(0, 1) * 255).round().byte()
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())

    def region(self, image_size: tuple[int, int]) -> Box:
        """The part of a photograph that the model sees, so that a heatmap can be drawn where it belongs.

        Args:
            image_size: (width, height) of the photograph, as PIL gives it.

        Returns:
            A box in the photograph's pixels. It reaches beyond the photograph where ``view`` has a border.

        Example:
            >>> Preprocessing.paper().region((640, 480))
            Box(left=0.0, top=0.0, right=640.0, bottom=480.0)
        """
        width, height = image_size
        resized_height, resized_width = self._resized(height, width)
        top, left = self._corner(resized_height, resized_width)
        scale_x, scale_y = width / resized_width, height / resized_height
        return Box(
            left * scale_x, top * scale_y, (left + self.size[1]) * scale_x, (top + self.size[0]) * scale_y
        )

    def seen(self, image: Image.Image) -> Image.Image:
        """The ``region`` of a photograph, to whole pixels, with a black border where it reaches beyond.

        A region of more than ``MAX_PIXELS``, nearly all of which is border, is given smaller by a whole factor.

        Example:
            >>> Preprocessing.paper().seen(Image.new("RGB", (640, 480))).size
            (640, 480)
        """
        left, top, right, bottom = map(round, self.region(image.size))
        area = (right - left) * (bottom - top)
        if area <= MAX_PIXELS:
            return image.crop((left, top, right, bottom))
        smaller = math.isqrt(area // MAX_PIXELS) + 1
        inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        picture = Image.new("RGB", ((right - left) // smaller, (bottom - top) // smaller))
        place = ((inside[0] - left) // smaller, (inside[1] - top) // smaller)
        picture.paste(image.reduce(smaller, box=inside), place)
        return picture

    def _pixels(self, image: Image.Image) -> Num[Tensor, "3 height width"]:
        height, width = self._resized(image.height, image.width)
        # a photograph that nobody takes, but a file that anyone can make
        if height * width > max(MAX_RESIZED, 4 * self.size[0] * self.size[1]):
            raise ImageError(
                f"An image of {image.width}×{image.height} is too elongated for this model: with its shape "
                f"kept, it would be resized to {width}×{height} before the crop."
            )
        top, left = self._corner(height, width)
        if self.arithmetic == "pil":
            resized = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
            cropped = Image.new("RGB", (self.size[1], self.size[0]), self.fill)
            cropped.paste(resized, (-left, -top))
            return _to_tensor(cropped)

        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        pixels: Tensor = _to_tensor(image)
        if self.arithmetic == "float32":
            pixels = pixels.float() * (1 / 255)
        mode = InterpolationMode(self.interpolation)
        resized_pixels = functional.resize(pixels, [height, width], mode, antialias=True)
        cropped_pixels: Tensor = functional.crop(resized_pixels, top, left, *self.size)
        return cropped_pixels

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the photograph once it is resized."""
        target_height, target_width = self.resize or self.size
        if self.resize_mode == "squash":
            return target_height, target_width
        if self.resize_mode == "shortest" and target_height == target_width:
            # torchvision's rule, which everyone uses for a square target: the long edge is rounded down
            short = min(height, width)
            return int(target_height * height / short), int(target_height * width / short)
        # timm's rule, which open_clip uses too: both edges are rounded to the nearest
        pick = min if self.resize_mode == "shortest" else max
        ratio = pick(height / target_height, width / target_width)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """(top, left) of the centre crop in the resized photograph; negative where it is padded."""
        return self._offset(height, self.size[0]), self._offset(width, self.size[1])

    def _offset(self, length: int, crop: int) -> int:
        if crop > length:
            return -((crop - length) // 2)
        return round((length - crop) / 2) if self.arithmetic == "pil" else (length - crop) // 2


def _to_tensor(image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

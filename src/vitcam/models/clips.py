"""From a video to a model's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitcam.errors import ImageError, ModelError
from vitcam.images import MAX_PIXELS
from vitcam.inputs import VIDEO, InputKind
from vitcam.inputs.files import Files
from vitcam.inputs.limits import ReadingLimits
from vitcam.inputs.read_video import FILES, Clip, read_clip
from vitcam.inputs.video import strip
from vitcam.models.adopted import Adopted, adopted_preprocessing
from vitcam.types import Box


@dataclass(frozen=True)
class ClipPreprocessing:
    """How one model wants its clips, declared; called on frames of a video, it prepares them.

    Attributes:
        frames: how many frames a clip has.
        picture: how each of them is prepared: a :class:`Preprocessing`, or whatever a :class:`LoadedModel` takes as
            such.
        step: how many frames of the video one is after the other, in the middle of it; None: the frames are spread
            over the whole video, each in the middle of its share. Where the video has fewer, some are shown twice.
        channels_first: whether the model takes (batch, channels, frames, height, width), instead of (batch, frames,
            channels, height, width).

    Example:
        >>> prepare = ClipPreprocessing(16, vitcam.Preprocessing.paper())
        >>> prepare.numbers(160)[:3], ClipPreprocessing(16, vitcam.Preprocessing.paper(), step=4).numbers(160)[:3]
        ([5, 15, 25], [49, 53, 57])
    """

    frames: int
    picture: Adopted
    step: int | None = None
    channels_first: bool = False

    kind: ClassVar[InputKind] = VIDEO
    files: ClassVar[Files] = FILES

    def __post_init__(self) -> None:
        """Takes the preprocessing of other libraries as one of ours.

        Raises:
            ModelError: what it does can't be declared, or a number is none that there can be.
        """
        if self.frames < 1 or (self.step is not None and self.step < 1):
            raise ModelError(f"frames and step must be 1 or more; got {self.frames} and {self.step}")
        object.__setattr__(self, "picture", adopted_preprocessing(self.picture, of_frames=True))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that the model gets."""
        return self.picture.size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the model's input for one clip."""
        return (3, self.frames, *self.size) if self.channels_first else (self.frames, 3, *self.size)

    @property
    def order(self) -> tuple[int, ...]:
        """Of the axes of what is prepared, see :class:`vitcam.inputs.InputKind`."""
        return () if self.channels_first else (0, 2, 1, 3, 4)

    def numbers(self, total: int) -> list[int]:
        """Which frames of a video of so many the model gets.

        Raises:
            ImageError: the video is too short for ``step``.
        """
        if self.step is None:
            return [(2 * n + 1) * total // (2 * self.frames) for n in range(self.frames)]
        span = (self.frames - 1) * self.step + 1
        if total < span:
            raise ImageError(
                f"a video of {total} frames is too short: the model takes {self.frames} frames, each {self.step} "
                f"after the one before, which are {span}. step=None spreads them over whatever there is"
            )
        return [(total - span) // 2 + n * self.step for n in range(self.frames)]

    def read(self, source: Any, limits: ReadingLimits | None = None) -> Clip:
        """The frames of a file: see :func:`vitcam.inputs.read_video.read_clip`."""
        if limits is None:
            return read_clip(source, self.numbers)
        each = limits.memory // (3 * self.frames)
        return read_clip(source, self.numbers, max_pixels=min(each, MAX_PIXELS), max_decoded=limits.work // 3)

    def __call__(self, clip: Clip) -> Float[Tensor, "_a _b height width"]:
        """The model's input for one clip."""
        prepared = torch.stack([self.picture(frame) for frame in clip.frames])
        return prepared.transpose(0, 1) if self.channels_first else prepared

    def seen(self, clip: Clip) -> Image.Image:
        """What the model sees of a clip: its frames, row by row."""
        views = [np.asarray(self.picture.view(frame)) for frame in clip.frames]
        return strip(np.moveaxis(np.stack(views), -1, 0) / 255.0)

    def region(self, size: tuple[int, int]) -> Box:
        """The part of a frame of (width, height) that the model sees, in its pixels."""
        return self.picture.region(size)

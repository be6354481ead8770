"""From a picture of any number of bands to a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vitcam.errors import ModelError
from vitcam.images import MAX_PIXELS
from vitcam.inputs import PICTURE, InputKind
from vitcam.inputs.bands import chosen_bands
from vitcam.inputs.files import Files
from vitcam.inputs.limits import ReadingLimits
from vitcam.inputs.read_bands import FILES, read_bands
from vitcam.inputs.read_volume import Scan
from vitcam.types import Box


@dataclass(frozen=True)
class BandPreprocessing:
    """How one model wants its pictures of other bands than red, green and blue; called on one, it prepares it.

    The picture is resized, whatever its shape (bilinear, antialiased), and each band normalised.

    Attributes:
        size: (height, width) of the model's input, in pixels.
        mean: of each band, in the units of the files; subtracted.
        std: each band is divided by it.
        shown: which bands are drawn as red, green and blue, one for all or three; None: as ``bands`` of
            :func:`vitcam.explain`.

    Example:
        >>> prepare = BandPreprocessing((64, 64), mean=(0.5,) * 13, std=(0.2,) * 13)
        >>> np.save("bands.npy", np.random.default_rng(0).random((13, 80, 100)))
        >>> prepare(prepare.read("bands.npy")).shape
        torch.Size([13, 64, 64])
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shown: Sequence[int] | None = None

    kind: ClassVar[InputKind] = PICTURE
    files: ClassVar[Files] = FILES
    order: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ModelError: the means and deviations aren't as many, or none can be divided by.
            ImageError: there are no such bands.
        """
        if len(self.mean) != len(self.std) or not self.mean or not all(each > 0 for each in self.std):
            raise ModelError(
                f"mean and std need a number for each band, those of std above 0; got {self.mean} and {self.std}"
            )
        chosen_bands(len(self.mean), self.shown)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the model's input for one picture."""
        return len(self.mean), *self.size

    def read(self, source: Any, limits: ReadingLimits | None = None) -> Scan:
        """The bands of a file: see :func:`vitcam.inputs.read_bands.read_bands`."""
        bands = len(self.mean)
        most = MAX_PIXELS if limits is None else min(MAX_PIXELS, limits.memory // (4 * bands))
        return read_bands(source, bands, most)

    def __call__(self, picture: Scan) -> Float[Tensor, "bands height width"]:
        """The model's input for one picture."""
        values = torch.from_numpy(picture.values)[None]
        resized = F.interpolate(values, self.size, mode="bilinear", antialias=True)[0]
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (resized - mean) / std

    def seen(self, picture: Scan) -> Image.Image:
        """The whole picture, three of its bands as red, green and blue."""
        return PICTURE.picture(picture.values, self.shown)

    def region(self, size: tuple[int, int]) -> Box:
        """All of it."""
        return Box(0, 0, *size)

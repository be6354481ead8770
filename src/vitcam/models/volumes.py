"""From a scan to a model's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vitcam.errors import ImageError, ModelError
from vitcam.inputs import VOLUME, InputKind
from vitcam.inputs.files import Files
from vitcam.inputs.limits import ReadingLimits
from vitcam.inputs.read_volume import FILES, MAX_VOXELS, Scan, read_scan
from vitcam.types import Box


@dataclass(frozen=True)
class VolumePreprocessing:
    """How one model wants its volumes, declared; called on a scan, it prepares it.

    The axes are turned, values are scaled to 0..1, the volume is resized, whatever its shape, and normalised: MONAI's
    ``Orientation``, ``ScaleIntensityRange`` (or ``ScaleIntensity``), ``Resize`` and ``NormalizeIntensity``, in this
    order.

    Attributes:
        size: the lengths of the three axes that the model takes.
        channels: values in each voxel.
        window: the values that become 0 and 1, such as (-175, 250) of Hounsfield units; what is beyond is cut off.
            None: the lowest and the highest of each volume.
        mean: subtracted then.
        std: what it is divided by after that.
        orientation: the directions of the axes of a NIfTI file: "RAS", to the right, to the front, and up; None: as
            they are in the file.
        interpolation: of the resize, "area" as MONAI's default, or "trilinear".

    Example:
        >>> prepare = VolumePreprocessing((16, 24, 24), window=(-175, 250))
        >>> np.save("scan.npy", np.random.default_rng(0).normal(0, 100, (20, 30, 30)))
        >>> prepare(prepare.read("scan.npy")).shape
        torch.Size([1, 16, 24, 24])
    """

    size: tuple[int, int, int]
    channels: int = 1
    window: tuple[float, float] | None = None
    mean: float = 0.0
    std: float = 1.0
    orientation: str | None = "RAS"
    interpolation: Literal["area", "trilinear"] = "area"

    kind: ClassVar[InputKind] = VOLUME
    files: ClassVar[Files] = FILES
    order: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ModelError: says what.
        """
        if len(self.size) != 3 or min(self.size) < 1:
            raise ModelError(f"a volume's size must be three lengths; got {self.size}")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ModelError(f"a window must be a lower and a higher value; got {self.window}")
        if self.orientation is not None and (
            len(self.orientation) != 3
            or sorted(map("LRPAIS".find, self.orientation.upper()))[0] < 0
            or len({"LRPAIS".find(code) // 2 for code in self.orientation}) != 3
        ):
            raise ModelError(
                f"an orientation must be three letters, one of L and R, one of P and A, one of I and S, in the order "
                f"of the axes; got {self.orientation!r}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the model's input for one volume."""
        return self.channels, *self.size

    def read(self, source: Any, limits: ReadingLimits | None = None) -> Scan:
        """The volume of a file: see :func:`vitcam.inputs.read_volume.read_scan`."""
        most = MAX_VOXELS if limits is None else min(MAX_VOXELS, limits.memory // 4)
        return read_scan(source, self.channels, self.orientation, most)

    def __call__(self, scan: Scan) -> Float[Tensor, "channels depth height width"]:
        """The model's input for one volume.

        Raises:
            ImageError: the window leaves nothing of it.
        """
        values = torch.from_numpy(scan.values)
        low, high = self.window or (float(values.min()), float(values.max()))
        scaled = ((values - low) / (high - low)).clamp(0, 1)[None]
        if bool((scaled == scaled.flatten()[0]).all()):
            raise ImageError(
                f"{scan.path}: nothing is left of it in the window from {low:g} to {high:g}: its values go from "
                f"{float(values.min()):g} to {float(values.max()):g}"
            )
        resized = F.interpolate(scaled, self.size, mode=self.interpolation)[0]
        return (resized - self.mean) / self.std

    def seen(self, scan: Scan) -> Image.Image:
        """What the model gets of a volume: slices in three planes."""
        return VOLUME.picture(self(scan).numpy(), None)

    def region(self, size: tuple[int, int]) -> Box:
        """All of it."""
        return Box(0, 0, *size)

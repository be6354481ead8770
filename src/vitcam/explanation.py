"""The answer to "where did it look?": heatmaps, and what one makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from vitcam import heatmap
from vitcam.boxes import boxes_from_heatmap
from vitcam.errors import TargetError, VitcamError
from vitcam.probability import to_probabilities
from vitcam.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Explanation:
    """Heatmaps of a batch of images by one method.

    Attributes:
        heatmaps: (batch, targets, h, w) float32, raw values on the patch grid, as the method's paper defines
            them.
        targets: (batch, targets) int64 class indices; -1 where a function gave the score.
        logits: (batch, classes) float32; None if the model gives none.
        method: the method's canonical name, parameters included.
        image_size: (height, width) of what the model saw, in pixels.
        photographs: per image what the model saw of it, as a picture at the photograph's own resolution. Those
            given as files are read again whenever they are asked for.
        class_names: in the order of the logits; None if the model has none.
        multi_label: whether an image can have several of the classes.
        region: (top, left, bottom, right), the part of what the model saw that the patches cover, in its pixels,
            where that isn't the whole of it; see :class:`vitcam.PatchGrid`. Maps are laid over this part.

    Example:
        >>> e = vitcam.explain(photo_model, photo, targets=["cat", "cup"])
        >>> e.label(0, 1), e.heatmaps.shape, e.upsampled().shape
        ('cup', torch.Size([1, 2, 12, 12]), torch.Size([1, 2, 168, 168]))
        >>> e.boxes(threshold=0.5)[0][1][0]  # the first image's second target: its largest box
        Box(left=19, top=88, right=107, bottom=168)
        >>> e.overlay(t=1).save("cup.png")
    """

    heatmaps: Float[Tensor, "batch targets h w"]
    targets: Int[Tensor, "batch targets"]
    logits: Float[Tensor, "batch classes"] | None
    method: str
    image_size: tuple[int, int]
    photographs: Sequence[Image]
    class_names: tuple[str, ...] | None = None
    multi_label: bool = False
    region: tuple[float, float, float, float] | None = None

    @property
    def probabilities(self) -> Float[Tensor, "batch classes"]:
        """Softmax of the logits; their sigmoid where an image can have several classes, or there is a single logit.

        Raises:
            VitcamError: the model gave no logits.
        """
        if self.logits is None:
            raise VitcamError("this model gave no logits, so there are no probabilities")
        return to_probabilities(self.logits, self.multi_label)

    def label(self, i: int = 0, t: int = 0) -> str:
        """The name of image ``i``'s target ``t``; its index where the model has no names."""
        i, t = self._indices(i, t)
        target = int(self.targets[i, t])
        if target < 0:
            return f"score {t}"
        return self.class_names[target] if self.class_names else f"class {target}"

    def upsampled(
        self, size: tuple[int, int] | None = None, normalize: bool = True
    ) -> Float[Tensor, "batch targets height width"]:
        """The heatmaps in pixels: bilinear (``align_corners=False``), then min-max to 0..1 per map.

        Pixels that no patch covers have the lowest value of their map.

        Args:
            size: (height, width); the size of what the model saw if None.
            normalize: False leaves the raw values. A constant map is normalised to zeros.
        """
        maps = heatmap.upsample(self.heatmaps, size or self.image_size, self.region, self.image_size)
        return heatmap.normalize(maps) if normalize else maps

    def boxes(self, threshold: float = 0.5, size: tuple[int, int] | None = None) -> list[list[list[Box]]]:
        """Per image, per target: the bounding boxes of the areas above a threshold.

        Args:
            threshold: of the map normalised to 0..1; pixels strictly above it count.
            size: (height, width) whose pixels the boxes are in; what the model saw if None.

        Raises:
            VitcamError: the threshold isn't within 0..1.
        """
        if not 0 <= threshold <= 1:
            raise VitcamError(f"the threshold must be within 0..1, the range of the maps; got {threshold}")
        maps = self.upsampled(size).cpu().numpy()
        return [[boxes_from_heatmap(one, threshold) for one in image] for image in maps]

    def overlay(self, i: int = 0, t: int = 0) -> Image:
        """Image ``i`` under the heatmap of its target ``t``, at the photograph's own resolution.

        Raises:
            TargetError: there is no such image or target.
        """
        from vitcam.render import overlay

        i, t = self._indices(i, t)
        photograph = self.photographs[i]
        one, size = self.heatmaps[i : i + 1, t : t + 1], (photograph.height, photograph.width)
        maps = heatmap.upsample(one, size, self.region, self.image_size)
        return overlay(photograph, np.asarray(heatmap.normalize(maps)[0, 0].cpu()))

    def _indices(self, i: int, t: int) -> tuple[int, int]:
        batch, targets = self.targets.shape
        if not (-batch <= i < batch and -targets <= t < targets):
            raise TargetError(
                f"there is no image {i} with target {t}: this explanation has {batch} images with {targets} "
                "targets each, counted from 0"
            )
        return i % batch, t % targets

"""The answer to "where did it look?": heatmaps, and what one makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam import heatmap
from vitcam.boxes import boxes_from_heatmap
from vitcam.errors import NoSuchImageError, TargetError, VitcamError
from vitcam.explaining.bands import shares_of
from vitcam.inputs import KINDS
from vitcam.models.device import find_device
from vitcam.probability import to_probabilities
from vitcam.render.colors import DEFAULT_COLORMAP
from vitcam.render.overlay import DEFAULT_OPACITY
from vitcam.types import Answered, Box, TextToken

if TYPE_CHECKING:
    from PIL.Image import Image

PER_IMAGE = {"per image": True}
"""Marks a field that has a row for each image: all that takes an explanation apart, or joins several, goes by it."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Heatmaps of a batch of images by one method.

    It is a sequence of explanations of one image each: ``len(e)``, ``e[3]``, ``e[:4]``, ``for one in e``. In a
    notebook it shows itself as a picture.

    Attributes:
        heatmaps: (batch, targets, h, w) float32, raw values on the patch grid, as the method's paper defines
            them; of a video (batch, targets, t, h, w), of a volume (batch, targets, d, h, w), of a sound (batch,
            targets, bands, times).
        targets: (batch, targets) int64 class indices; -1 where a function gave the score.
        logits: (batch, classes) float32; None if the model gives none.
        method: the method's canonical name, parameters included.
        image_size: (height, width) of what the model saw, in pixels; of a video or volume three lengths.
        photographs: per image what the model saw of it, as a picture at the photograph's own resolution. Those
            given as files are read again whenever they are asked for.
        class_names: in the order of the logits; None if the model has none.
        multi_label: whether an image can have several of the classes.
        region: (top, left, bottom, right), the part of what the model saw that the patches cover, in its pixels,
            where that isn't the whole of it; see :class:`vitcam.PatchGrid`. Maps are laid over this part.
        names: per image the path of its file, "" where it came from none; () if nothing is known of any.
        versus: (batch, targets) int64, the classes whose scores were taken away from the targets'; None if none were.
        score: what a class was scored by, "logit" or "probability".
        answered: per image and target what was explained, of targets that are no classes: a similarity, an object
            that was found, a region; see :class:`vitcam.types.Answered`. () of classes and functions.
        direction: "up", or "down" where what makes the score smaller was explained.
        errors: the standard error of each value of the heatmaps, of the same shape; None of methods that draw no
            samples.
        kind: of input, "picture", "video", "sound" or "volume".
        tiles: (left, top, right, bottom) of each tile of a picture that was explained in tiles, in its pixels, row by
            row; () of others. ``heatmaps`` are those of the whole picture then, and ``logits`` the means over tiles.
        tile_logits: (batch, tiles, classes) float32, the logits of each tile; of targets that are no classes, the
            scores (batch, tiles, targets). None without tiles.
        bands: (batch, targets, bands), what each band (channel) of the input counts: the sum of its attributions
            over all places, in units of the score; see :attr:`band_shares`. By methods that attribute a score to the
            values of the input: the ``captum:`` methods of gradients, ``attnlrp``, and ``ixg`` in front of the first
            block of a model of other bands than colours. None of others. With tiles, means over them.
        band_sizes: the same of the attributions' magnitudes.
        text: per image and target the tokens of the text that came with the image, each with its weight; () without.

    Example:
        >>> e = vitcam.explain(photo_model, photo, targets=["cat", "cup"])
        >>> e.label(0, 1), e.heatmaps.shape, e.upsampled().shape
        ('cup', torch.Size([1, 2, 12, 12]), torch.Size([1, 2, 168, 168]))
        >>> e.boxes(threshold=0.5)[0][1][0]  # the first image's second target: its largest box
        Box(left=19, top=88, right=107, bottom=168)
        >>> e.overlay(t=1, boxes=0.5).save("cup.png")
        >>> e
        Explanation(agcam, 1 image × 2 targets, maps of 12×12)
    """

    heatmaps: Float[Tensor, "batch targets *grid"] = field(metadata=PER_IMAGE)
    targets: Int[Tensor, "batch targets"] = field(metadata=PER_IMAGE)
    logits: Float[Tensor, "batch classes"] | None = field(metadata=PER_IMAGE)
    method: str
    image_size: tuple[int, ...]
    photographs: Sequence[Image] = field(metadata=PER_IMAGE)
    class_names: tuple[str, ...] | None = None
    multi_label: bool = False
    region: tuple[float, ...] | None = None
    names: tuple[str, ...] = field(default=(), metadata=PER_IMAGE)
    versus: Int[Tensor, "batch targets"] | None = field(default=None, metadata=PER_IMAGE)
    score: str = "logit"
    errors: Float[Tensor, "batch targets *grid"] | None = field(default=None, metadata=PER_IMAGE)
    answered: tuple[tuple[Answered, ...], ...] = field(default=(), metadata=PER_IMAGE)
    direction: str = "up"
    kind: str = "picture"
    tiles: tuple[tuple[int, int, int, int], ...] = ()
    tile_logits: Float[Tensor, "batch tiles scores"] | None = field(default=None, metadata=PER_IMAGE)
    bands: Float[Tensor, "batch targets bands"] | None = field(default=None, metadata=PER_IMAGE)
    band_sizes: Float[Tensor, "batch targets bands"] | None = field(default=None, metadata=PER_IMAGE)
    text: tuple[tuple[tuple[TextToken, ...], ...], ...] = field(default=(), metadata=PER_IMAGE)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.heatmaps)

    def __getitem__(self, which: SupportsIndex | slice) -> Explanation:
        """The explanation of one image, or of some: its heatmaps are views of these.

        Raises:
            NoSuchImageError: there is no such image.
            TypeError: ``which`` is neither a number nor a slice.
        """
        rows = which if isinstance(which, slice) else self._row(index(which))
        if rows.step is not None and rows.step < 0:  # which tensors don't take
            from vitcam.explaining.joining import join

            numbers = list(range(len(self)))[rows]
            return join([self[number] for number in numbers]) if numbers else self[:0]
        values = {name: getattr(self, name) for name in names_per_image()}
        some: dict[str, Any] = {
            name: value if value is None else value[rows] for name, value in values.items()
        }
        return replace(self, **some)

    def __iter__(self) -> Iterator[Explanation]:
        """The explanations of the images, one by one."""
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        from vitcam.explaining.notebook import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from vitcam.explaining.notebook import as_html

        return as_html(self)

    def _repr_png_(self) -> bytes | None:
        from vitcam.explaining.notebook import as_png

        return as_png(self)

    def to(self, device: str | torch.device) -> Explanation:
        """The same with its tensors on a device, such as "cuda", or "auto" for the best there is.

        Raises:
            ModelError: there is no such device on this machine.

        Example:
            >>> vitcam.explain(photo_model, photo).to("cpu").heatmaps.device
            device(type='cpu')
        """
        where = find_device(device)
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(where) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def cpu(self) -> Explanation:
        """The same with its tensors in the computer's own memory.

        Example:
            >>> vitcam.explain(photo_model, photo).cpu().targets.device
            device(type='cpu')
        """
        return self.to("cpu")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes it into a folder, to be read again by :func:`vitcam.load`.

        ``tensors.….safetensors`` holds the tensors, ``photographs`` what the model saw, as PNG, and
        ``explanation.json`` the rest. The last of these is written last: an explanation that was there before is
        replaced at once, and stays whole if this is interrupted. Other files in the folder are left alone.

        Raises:
            ImageError: a photograph can't be read any more.
            VitcamError: a file can't be written.

        Example:
            >>> vitcam.explain(photo_model, photo).save("explained")
            >>> vitcam.load("explained")
            Explanation(agcam, 1 image × 1 target, maps of 12×12)
        """
        from vitcam.explaining.storing import save

        save(self, folder)

    @property
    def probabilities(self) -> Float[Tensor, "batch classes"]:
        """Softmax of the logits; their sigmoid where an image can have several classes, or there is a single logit.

        Raises:
            VitcamError: the model gave no logits.
        """
        if self.logits is None:
            raise VitcamError("this model gave no logits, so there are no probabilities")
        return to_probabilities(self.logits, self.multi_label)

    @property
    def band_shares(self) -> Float[Tensor, "batch targets bands"]:
        """The share of each band (channel) of the input in all that counts: |attributions| over all places, to 1.

        Magnitudes, since what a band says for a class at one place and against it at another counts twice, and
        doesn't cancel out; for which of them it is on the whole, ``bands`` say.

        Raises:
            VitcamError: the method doesn't tell.

        Example:
            >>> vitcam.explain(photo_model, photo, "captum:InputXGradient").band_shares.shape
            torch.Size([1, 1, 3])
        """
        return shares_of(self.band_sizes, self.method)

    def label(self, i: int = 0, t: int = 0) -> str:
        """The name of image ``i``'s target ``t``; its index where the model has no names.

        With ``versus`` it is both, as in "cat versus cup".
        """
        i, t = self._indices(i, t)
        own = self._own_label(i, t)
        if self.versus is not None:
            own = f"{own} versus {self._class(int(self.versus[i, t]))}"
        return own if self.direction == "up" else f"{own}, {self.direction}"

    def _own_label(self, i: int, t: int) -> str:
        if self.answered:
            return self.answered[i][t].label
        target = int(self.targets[i, t])
        return self._class(target) if target >= 0 else f"score {t}"

    def places(self, i: int = 0, t: int = 0) -> list[Box]:
        """Where in image ``i`` its target ``t`` is, in pixels of what the model saw: the box of an object that was
        found, or around a region. Empty of what is nowhere in particular, such as a class.

        Example:
            >>> vitcam.explain(photo_model, photo).places()
            []
        """
        i, t = self._indices(i, t)
        box = self.answered[i][t].box if self.answered else None
        return [] if box is None else [Box(*box)]

    def _class(self, index: int) -> str:
        return self.class_names[index] if self.class_names else f"class {index}"

    def upsampled(
        self, size: tuple[int, ...] | None = None, normalize: bool = True
    ) -> Float[Tensor, "batch targets *size"]:
        """The heatmaps in pixels: bilinear (``align_corners=False``), then min-max to 0..1 per map.

        Those of videos and volumes are stretched along all three axes.

        Pixels that no patch covers have the lowest value of their map.

        Args:
            size: (height, width); the size of what the model saw if None.
            normalize: False leaves the raw values. A constant map is normalised to zeros.
        """
        maps = heatmap.upsample(self.heatmaps, size or self.image_size, self.region, self.image_size)
        return heatmap.normalize(maps, len(self.image_size)) if normalize else maps

    def laid(self) -> Float[Tensor, "batch targets height width"]:
        """The maps from 0 to 1 as they lie over ``photographs``.

        Of a picture they are :meth:`upsampled`; of a video they are those of the frames that are drawn, side by side,
        of a volume those of slices, of a sound they have its spectrogram's axes at their sides.

        Example:
            >>> vitcam.explain(photo_model, photo).laid().shape
            torch.Size([1, 1, 168, 168])
        """
        maps = self.upsampled().cpu()
        return torch.from_numpy(np.ascontiguousarray(KINDS[self.kind].laid(maps.numpy())))

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
        if self.kind != "picture":
            raise VitcamError(
                f"boxes are drawn around areas of pictures, and this explains a {self.kind}: take "
                f"e.upsampled() > {threshold:g}, over {', '.join(KINDS[self.kind].axes)}"
            )
        maps = self.upsampled(size).cpu().numpy()
        return [[boxes_from_heatmap(one, threshold) for one in image] for image in maps]

    def overlay(
        self,
        i: int = 0,
        t: int = 0,
        *,
        opacity: float = DEFAULT_OPACITY,
        colormap: str = DEFAULT_COLORMAP,
        boxes: bool | float | Sequence[Box] = False,
    ) -> Image:
        """Image ``i`` under the heatmap of its target ``t``, at the photograph's own resolution.

        Args:
            i: the image.
            t: the target.
            opacity: of the colour at the hottest point, 0 to 1.
            colormap: "inferno", "magma", "plasma", "viridis" or "cividis".
            boxes: to outline: True for the areas above 0.5, a number for those above this threshold, or boxes in
                pixels of what the model saw, as :meth:`boxes` gives them.

        Raises:
            TargetError: there is no such image or target.
            VitcamError: the opacity or the threshold isn't within 0..1, or there is no such colour map.
        """
        from vitcam.explaining.overlays import overlay

        return overlay(self, *self._indices(i, t), opacity=opacity, colormap=colormap, boxes=boxes)

    def _row(self, i: int) -> slice:
        if not -len(self) <= i < len(self):
            raise NoSuchImageError(f"there is no image {i}: this explanation has {len(self)}, counted from 0")
        return slice(i % len(self), i % len(self) + 1)

    def _indices(self, i: int, t: int) -> tuple[int, int]:
        batch, targets = self.targets.shape
        if not (-batch <= i < batch and -targets <= t < targets):
            raise TargetError(
                f"there is no image {i} with target {t}: this explanation has {batch} images with {targets} "
                "targets each, counted from 0"
            )
        return i % batch, t % targets


def names_per_image() -> list[str]:
    """The fields that have a row for each image."""
    return [each.name for each in fields(Explanation) if each.metadata == PER_IMAGE]

"""What a dense model says of a place: the mean logit of a class there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import About, AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered, Box

Label = int | str | None
_NAMES = ("logits", "out", "pred_masks")


def region(
    label: Label = None,
    *,
    point: tuple[float, float] | None = None,
    box: Box | tuple[float, float, float, float] | None = None,
    mask: Tensor | np.ndarray | None = None,
) -> AnswerKind:
    """A target: the mean over a part of the image of what a dense model gives for a class there.

    y = Σ_p m(p) z_c(p) / Σ_p m(p), z_c the class's logits at the model's own resolution and m the part, brought to it
    by the mean over each of its cells. With a depth model there is one "class", the depth. Where a model gives masks
    of queries and their classes (Mask2Former), z_c(p) = Σ_q p_q(c) sigmoid(mask_q(p)), as it makes its segmentation.

    Args:
        label: the class, by name or index; None: the one with the largest mean there, or the only one.
        point: (x, y), the one cell there, in pixels of what the model saw.
        box: (left, top, right, bottom), likewise.
        mask: (height, width), or (images, height, width) for one each: true or the weight of each pixel of what the
            model saw; of any size of the same shape.
            Without any of these it is the whole image.

    Raises:
        TargetError: several places are given; or when it is explained: the place is empty or outside of the image, or
            the model gives no map of classes.

    Example:
        >>> vitcam.region("cat", point=(60, 80))
        _Region(label='cat', point=(60, 80), ...)
    """
    given = [name for name, place in (("point", point), ("box", box), ("mask", mask)) if place is not None]
    if len(given) > 1:
        raise TargetError(f"region takes one of point=, box= and mask=; got {' and '.join(given)}")
    return _Region(label, point, box, None if mask is None else _as_mask(mask))


@dataclass(frozen=True)
class _Region(AnswerKind):
    """The table has, for each place, the mean of each class there.

    Attributes:
        masks: (places, height, width), the weight of each pixel of what the model saw.
        place_of: of each image.
    """

    label: Label
    point: tuple[float, float] | None
    box: Any
    mask: Tensor | None
    about: About | None = None
    masks: Tensor | None = None
    place_of: tuple[int, ...] = ()

    def prepared(self, about: About) -> AnswerKind:
        label = None if self.label is None else about.index(self.label)
        masks = self._masks(about.size)
        if len(masks) not in (1, about.images):
            raise TargetError(f"mask= holds {len(masks)} masks, and there are {about.images} images")
        if bool((empty := ~(masks > 0).flatten(1).any(dim=1)).any()):
            which = f" (mask {int(empty.nonzero()[0, 0])})" if len(masks) > 1 else ""
            raise TargetError(f"the region is empty{which}: no pixel of the image is in it")
        places = range(about.images) if len(masks) > 1 else (0,) * about.images
        return replace(self, label=label, about=about, masks=masks, place_of=tuple(places))

    def of_images(self, start: int, count: int) -> AnswerKind:
        return replace(self, place_of=self.place_of[start : start + count])

    def table(self, output: Any) -> Float[Tensor, "batch places classes"]:
        maps, masks = _maps(output), self.masks
        assert masks is not None
        if self.point is not None and self.about is not None:
            weights = _cell(self.point, self.about.size, (maps.shape[-2], maps.shape[-1])).to(maps)
        else:
            weights = F.interpolate(masks[:, None], size=maps.shape[-2:], mode="area")[:, 0].to(maps)
        means = torch.einsum("bkhw,phw->bpk", maps, weights)
        return means / weights.sum(dim=(1, 2))[:, None]

    def choose(self, table: Float[Tensor, "batch places classes"]) -> Int[Tensor, "batch targets"]:
        classes = table.shape[2]
        if isinstance(self.label, int) and not 0 <= self.label < classes:
            raise TargetError(
                f"there is no class {self.label}: the model's maps are of {classes}, counted from 0"
            )
        places = torch.tensor(self.place_of[: len(table)], device=table.device)
        largest = table[torch.arange(len(table), device=table.device), places].argmax(dim=1)
        chosen = largest if self.label is None else torch.full_like(largest, self.label)  # type: ignore[arg-type]  # an index by now
        return (places * classes + chosen)[:, None]

    def describe(self, row: Float[Tensor, "places classes"], column: int, size: tuple[int, int]) -> Answered:
        place, index = divmod(column, row.shape[1])
        value = float(row[place, index])
        name = f"class {index}" if self.about is None else self.about.name(index)
        assert self.masks is not None
        inside = self.masks[place] > 0
        box = None if bool(inside.all()) else _around(inside, size)
        return Answered(name, f"mean {value:.3g}", value, index, box)

    def _masks(self, size: tuple[int, int]) -> Float[Tensor, "places height width"]:
        height, width = size
        if self.mask is not None:
            if self.mask.shape[1] * width != self.mask.shape[2] * height:
                raise TargetError(
                    f"a mask is of the shape of what the model sees, {height}×{width} pixels, or a multiple of it; "
                    f"got {self.mask.shape[1]}×{self.mask.shape[2]}"
                )
            return self.mask
        everywhere = self.point is None and self.box is None
        inside = torch.full((1, height, width), float(everywhere))
        if self.point is not None:
            x, y = self.point
            if not (0 <= x < width and 0 <= y < height):
                raise TargetError(
                    f"the point ({x}, {y}) isn't in the image of {width}×{height} pixels (x, y)"
                )
            inside[0, int(y), int(x)] = 1
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                raise TargetError(
                    f"the box {tuple(self.box)} isn't in the image of {width}×{height} pixels (left, top, right, "
                    "bottom)"
                )
            inside[
                0, int(top) : max(int(top) + 1, round(bottom)), int(left) : max(int(left) + 1, round(right))
            ] = 1
        return inside


def _maps(output: Any) -> Float[Tensor, "batch classes height width"]:
    """What a dense model gives per class and place.

    Raises:
        TargetError: it gives no such maps.
    """
    queries, masks = named(output, "class_queries_logits"), named(output, "masks_queries_logits")
    if isinstance(queries, Tensor) and isinstance(masks, Tensor):
        return torch.einsum("bqk,bqhw->bkhw", queries.softmax(dim=-1)[..., :-1], masks.sigmoid())
    for found in (output, *(named(output, name) for name in _NAMES)):
        if isinstance(found, Tensor) and found.is_floating_point():
            if found.dim() == 5:  # SAM's: prompts × masks
                found = found.flatten(1, 2)
            if found.dim() == 4:
                return found
    depth = named(output, "predicted_depth")
    if isinstance(depth, Tensor) and depth.dim() == 3:
        return depth[:, None]
    raise TargetError(
        f"region needs maps of classes, (batch, classes, height, width), as a tensor or under one of "
        f"{', '.join(_NAMES)}, or predicted_depth (batch, height, width); the model gave a {type(output).__name__} "
        "without them. Of another output give a function of it as targets"
    )


def _cell(
    point: tuple[float, float], size: tuple[int, int], cells: tuple[int, int]
) -> Float[Tensor, "1 height width"]:
    """A single 1 at the cell of a point."""
    (x, y), (height, width), (rows, columns) = point, size, cells
    cell = torch.zeros(1, rows, columns)
    cell[0, int(y / height * rows), int(x / width * columns)] = 1
    return cell


def _around(inside: Tensor, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box around the pixels of a mask, in pixels of what the model saw."""
    rows, columns = (inside.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    y, x = size[0] / inside.shape[0], size[1] / inside.shape[1]
    return (
        float(columns[0]) * x,
        float(rows[0]) * y,
        float(columns[-1] + 1) * x,
        float(rows[-1] + 1) * y,
    )


def _as_mask(mask: Any) -> Float[Tensor, "places height width"]:
    found = torch.as_tensor(mask).detach()
    found = found[None] if found.dim() == 2 else found
    if found.dim() != 3 or found.is_complex():
        raise TargetError(f"a mask is (height, width), or (images, height, width); got {tuple(found.shape)}")
    found = found.float()
    if not bool(found.isfinite().all()) or bool((found < 0).any()):
        raise TargetError("the weights of a mask are finite and not negative")
    return found

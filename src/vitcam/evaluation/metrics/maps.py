"""What metrics are given, checked: heatmaps on the patch grid as importances of pixels, and true boxes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam import heatmap
from vitcam.errors import MetricError
from vitcam.types import Box


def images_of(
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, heatmaps * grid],
    targets: Int[Tensor, " targets"],
) -> list[int]:
    """The image of each heatmap: heatmap k is of image k mod images.

    Raises:
        MetricError: there aren't as many targets as heatmaps, or not equally many heatmaps of each image.
    """
    if len(targets) != len(heatmaps) or not len(images) or len(heatmaps) % len(images):
        raise MetricError(
            f"expected a target per heatmap and as many heatmaps as images, or a multiple of that (all images' "
            f"by one method, then all by the next), got {len(images)} images, {len(heatmaps)} heatmaps and "
            f"{len(targets)} targets"
        )
    return [heatmap % len(images) for heatmap in range(len(heatmaps))]


def pixel_maps(heatmaps: Float[Tensor, batch * grid], size: tuple[int, ...]) -> Float[Tensor, batch * size]:
    """Heatmaps upsampled to ``size``, such as (height, width), and min-maxed to 0..1, each on its own.

    Raises:
        ImageError: a heatmap isn't finite.
    """
    return heatmap.normalize(heatmap.upsample(heatmaps.float().unsqueeze(1), size).squeeze(1), len(size))


def pixel_ranks(maps: Float[Tensor, batch * space]) -> Int[Tensor, "batch pixels"]:
    """The place of every pixel in the order of importance, 0 for the most important.

    Equal pixels rank in reading order, on every device.
    """
    order = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def extreme_pixels(
    values: Float[Tensor, " pixels"], count: int, largest: bool = True
) -> Bool[Tensor, " pixels"]:
    """The ``count`` largest or smallest values; which of equal ones, ``torch.topk`` decides.

    Example:
        >>> extreme_pixels(torch.tensor([0.1, 0.9, 0.5]), 2).tolist()
        [False, True, True]
    """
    chosen = values.topk(count, largest=largest, sorted=False).indices
    return torch.zeros(len(values), dtype=torch.bool).index_fill_(0, chosen, True)


# Each a Box or four numbers, in a tuple, a list, an array or a tensor; which is checked below.
Boxes = Iterable[Any]


def checked_boxes(boxes: Boxes) -> list[Box]:
    """Boxes from ``Box`` or (left, top, right, bottom).

    Raises:
        MetricError: there is none, or one isn't four numbers with left ≤ right and top ≤ bottom.
    """
    checked = [_box(box) for box in boxes]
    if not checked:
        raise MetricError("there is no true box to compare with: leave out images without boxes")
    return checked


def _box(box: Any) -> Box:
    numbers = tuple(float(number) for number in box) if isinstance(box, Iterable) else (box,)
    if len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise MetricError(
            f"expected a box as (left, top, right, bottom) with left ≤ right and top ≤ bottom, got {numbers}"
        )
    return Box(*numbers)

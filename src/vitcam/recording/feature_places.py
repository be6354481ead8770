"""Measures which values of a feature map are which places of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.feature_hooks import recorded_features
from vitcam.recording.layout import Image, Layout, Sides, even_grids
from vitcam.recording.obstacles import same_places
from vitcam.recording.places import measured_grid
from vitcam.recording.points import Point
from vitcam.recording.scout import Scouted, tokens_at, unmixed_pass
from vitcam.recording.state import Memory
from vitcam.types import PatchGrid


@dataclass(frozen=True)
class FeaturePlaces:
    """Where the places of the image are in a feature map; see :class:`Features`."""

    grid: PatchGrid | None
    channels_first: bool = False

    def by_place(self, values: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch places channels"]:
        """A feature map with its places, whatever they are, along one axis."""
        return values.flatten(2).transpose(1, 2) if self.channels_first else values.flatten(1, -2)


_memory: Memory[FeaturePlaces] = Memory()


def feature_places(
    model: nn.Module, image: Image, layout: Layout, point: Point, inputs: Inputs = NO_INPUTS
) -> FeaturePlaces:
    """Measures, or remembers, which values of a feature map are which places of the image."""
    remembered = _memory.of(model, image, inputs, point)
    if remembered.value is None:
        with torch.autocast(image.device.type, enabled=False), bound(model, inputs):
            remembered.keep(_measured_places(model, image, layout, point))
    assert remembered.value is not None
    return remembered.value


def _measured_places(model: nn.Module, image: Image, layout: Layout, point: Point) -> FeaturePlaces:
    first = next(index for index, site in enumerate(layout.calls) if site.stream is not None)
    scouted = Scouted(first, layout.together, (), layout.tokens)

    def activation(rows: Tensor) -> Tensor:
        parts = []
        for part in rows.split(len(rows) if layout.together else 1):
            with recorded_features(model, layout, len(part), {point: False}) as recorded:
                unmixed_pass(model, part, scouted)
            if point not in recorded:
                return rows.new_zeros(0)
            parts.append(recorded[point].detach().float())
        return torch.cat(parts)

    shape, size = activation(image).shape[1:], tuple(image.shape[2:])
    if len(shape) == 2 and not layout.obstacle and shape[0] == layout.tokens:
        rows = torch.cat([image, layout.changed_copies(image)])
        # Where convolutions have mixed places, neighbours change too, as they do at the first attention.
        before, after = (
            (values[1:] - values[:1]).norm(dim=-1)
            for values in (tokens_at(model, rows, scouted, first), activation(rows))
        )
        same = same_places(before, after)
        return FeaturePlaces(layout.grid if same else None)
    if len(shape) == 2:
        # Any token may be the only patch of an image, so that a single one confirms nothing.
        grids = [
            grid for grid in even_grids(shape[0], size)[:3] if math.prod(grid) > 1 or layout.grid.tokens == 1
        ]
        candidates = [(grid, False) for grid in grids]
    elif len(shape) == len(size) + 1:
        either = [(tuple(shape[:-1]), False), (tuple(shape[1:]), True)]
        # Where channels were taken for rows, "patches" are stripes; to look for them takes a pass for each.
        candidates = [each for each in either if _oblong(each[0], size) <= 4]
    else:
        candidates = []

    def by_place(channels_first: bool, rows: Tensor) -> Tensor:
        return FeaturePlaces(None, channels_first).by_place(activation(rows))

    for candidate, channels_first in candidates:
        respond = partial(by_place, channels_first)
        grid = measured_grid(respond, image, [candidate], [candidate], anywhere=False)
        # Another order than row by row may depend on what is in the image.
        if grid is not None and not grid.order:
            return FeaturePlaces(grid, channels_first)
    return FeaturePlaces(None)


def _oblong(grid: Sides, size: Sides) -> float:
    """How many times longer than wide, or wider than long, a patch is within a plane or frame."""
    lengths = [side / count for side, count in zip(size[-2:], grid[-2:], strict=True)]
    return max(lengths) / min(lengths)

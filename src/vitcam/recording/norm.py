"""The first normalisation of the last block: where Grad-CAM looks at a Vision Transformer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.layout import Image, Layout, even_grids
from vitcam.recording.obstacles import same_places
from vitcam.recording.places import measured_grid
from vitcam.recording.scout import Scouted, tokens_at, unmixed_pass
from vitcam.recording.state import Memory
from vitcam.types import PatchGrid


@dataclass(frozen=True)
class BlockNorm:
    """What the first normalisation that runs in the last transformer block gave, and its gradient.

    Attributes:
        activation: as the model lays it out, batch first: (batch, tokens, channels) in a plain ViT, or
            (batch, height, width, channels), or (batch, channels, height, width).
        gradient: the ordinary ∂y/∂activation, for every target.
        grid: which of its values are which places of the image; None where that couldn't be confirmed.
        channels_first: whether it is (batch, channels, height, width).
    """

    activation: Float[Tensor, "batch ..."]
    gradient: Float[Tensor, "batch targets ..."]
    grid: PatchGrid | None
    channels_first: bool


@dataclass(frozen=True)
class NormSite:
    """Where the places of the image are in that norm's output; see :class:`BlockNorm`."""

    grid: PatchGrid | None
    channels_first: bool = False


_memory: Memory[NormSite] = Memory()


def norm_site(model: nn.Module, image: Image, layout: Layout, inputs: Inputs = NO_INPUTS) -> NormSite:
    """Measures, or remembers, which values of the last block's first norm are which places of the image."""
    remembered = _memory.of(model, image, inputs)
    if remembered.value is None:
        with torch.autocast(image.device.type, enabled=False), bound(model, inputs):
            remembered.keep(_measured_site(model, image, layout))
    assert remembered.value is not None
    return remembered.value


def _measured_site(model: nn.Module, image: Image, layout: Layout) -> NormSite:
    first = next(index for index, site in enumerate(layout.calls) if site.stream is not None)
    scouted = Scouted(first, layout.together, (), layout.tokens)

    def activation(rows: Tensor) -> Tensor:
        parts = []
        for part in rows.split(len(rows) if layout.together else 1):
            with recorded_norm(model, layout, len(part)) as recorded:
                unmixed_pass(model, part, scouted)
            if not recorded:
                return rows.new_zeros(0)
            parts.append(recorded[0].detach().float())
        return torch.cat(parts)

    shape, size = activation(image).shape[1:], (image.shape[-2], image.shape[-1])
    if len(shape) == 2 and not layout.obstacle and shape[0] == layout.tokens:
        rows = torch.cat([image, layout.changed_copies(image)])
        # Where convolutions have mixed places, neighbours change too, as they do at the first attention.
        before, after = (
            (values[1:] - values[:1]).norm(dim=-1)
            for values in (tokens_at(model, rows, scouted, first), activation(rows))
        )
        same = same_places(before, after)
        return NormSite(layout.grid if same else None)
    if len(shape) == 2:
        # Any token may be the only patch of an image, so that a single one confirms nothing.
        grids = [grid for grid in even_grids(shape[0], size)[:3] if grid != (1, 1) or layout.grid.tokens == 1]
        candidates = [(grid, False) for grid in grids]
    elif len(shape) == 3:
        either = [((shape[0], shape[1]), False), ((shape[1], shape[2]), True)]
        # Where channels were taken for rows, "patches" are stripes; to look for them takes a pass for each.
        candidates = [each for each in either if _oblong(each[0], size) <= 4]
    else:
        candidates = []
    for candidate, channels_first in candidates:
        flat = _flat_first if channels_first else _flat_last
        grid = measured_grid(
            lambda rows, flat=flat: flat(activation(rows)),  # type: ignore[misc]
            image,
            [candidate],
            [candidate],
            anywhere=False,
        )
        if grid is not None and not grid.order:
            return NormSite(grid, channels_first)
    return NormSite(None)


def _oblong(grid: tuple[int, int], size: tuple[int, int]) -> float:
    """How many times longer than wide, or wider than long, a patch is."""
    ratio = size[0] * grid[1] / (size[1] * grid[0])
    return max(ratio, 1 / ratio)


def _flat_first(values: Tensor) -> Tensor:
    return values.flatten(2).transpose(1, 2)


def _flat_last(values: Tensor) -> Tensor:
    return values.flatten(1, -2)


@contextlib.contextmanager
def recorded_norm(model: nn.Module, layout: Layout, batch: int) -> Iterator[list[Tensor]]:
    """A list with the output of the last block's first norm, behind the ``with``; it requires a gradient.

    Where a block is called several times (a second image, layers that share weights), it is the call that makes the
    last layer's attention call. The pass inside the ``with`` must run with gradients enabled. Without any other
    tensor that requires one, all that comes before the norm costs what it costs without. The list stays empty if
    there is no such norm.
    """

    here, recorded = threading.get_ident(), list[Tensor]()
    block, norms = _norms_of_last_block(model, layout)
    each: list[Tensor | None] = []  # of the block's calls

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == here:
            each.append(None)

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if (
            threading.get_ident() != here
            or not isinstance(output, Tensor)
            or not each
            or each[-1] is not None
        ):
            return None
        batch_first = output.dim() != 3 or not layout.tokens_first
        activation = output if batch_first else output.transpose(0, 1)
        if activation.shape[0] != batch:  # tokens of all images in one row
            return None
        if not activation.requires_grad:
            activation = activation.detach().requires_grad_()
        each[-1] = activation
        return activation if batch_first else activation.transpose(0, 1)

    with contextlib.ExitStack() as undo:
        if block is not None:
            undo.callback(block.register_forward_pre_hook(enter).remove)
        for norm in norms:
            undo.callback(norm.register_forward_hook(hook).remove)
        yield recorded
    if layout.behind is not None:
        recorded.extend(activation for activation in each[-1:] if activation is not None)
        return
    last = max(index for index, site in enumerate(layout.calls) if site.stream is not None and not site.pools)
    same = [index for index, site in enumerate(layout.calls) if site.name == layout.calls[last].name]
    of_last = each[same.index(last) * len(each) // len(same)] if each else None
    if of_last is not None:
        recorded.append(of_last)


def _norms_of_last_block(model: nn.Module, layout: Layout) -> tuple[nn.Module | None, list[nn.Module]]:
    """The innermost member of a module list, around the last attention call, that has norms; and these.

    The blocks of a layout aren't used: in a hierarchical model they are its stages, or the first of them.
    """
    last = layout.behind or [site.name for site in layout.layers if not site.pools][-1]
    parts = last.split(".")
    for end in range(len(parts), 0, -1):
        name, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
        if isinstance(model.get_submodule(parent), nn.ModuleList | nn.Sequential):
            block = model.get_submodule(name)
            # A spectral or weight norm normalises weights: it is no layer.
            norms = [
                module
                for path, module in block.named_modules()
                if "norm" in type(module).__name__.lower() and "parametrizations" not in path.split(".")
            ]
            if norms:
                return block, norms
    return None, []

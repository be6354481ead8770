"""The first normalisation of the last block: where Grad-CAM looks at a Vision Transformer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.call import AttentionCall
from vitcam.recording.fast_linear import fast_linear
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Layout
from vitcam.recording.obstacles import same_places
from vitcam.recording.places import Image, changed_cells, measured_grid, some_cells
from vitcam.recording.watch import ReachedError, unmixed


@dataclass(frozen=True)
class BlockNorm:
    """What the first normalisation that runs in the last transformer block gave, and its gradient.

    Attributes:
        activation: as the model lays it out, batch first: (batch, tokens, channels) in a plain ViT, or
            (batch, height, width, channels), or (batch, channels, height, width).
        gradient: the ordinary ∂y/∂activation, for every target.
        confirmed: whether its tokens were seen to lie over the image as the patch grid says.
    """

    activation: Float[Tensor, "batch ..."]
    gradient: Float[Tensor, "batch targets ..."]
    confirmed: bool = True


@contextlib.contextmanager
def recorded_norm(model: nn.Module, layout: Layout, into: list[Tensor]) -> Iterator[None]:
    """Puts the output of the last block's first norm into ``into``, as a tensor that requires a gradient.

    Where a block is called several times (a second image, layers that share weights), it is the call that makes the
    last layer's attention call. The pass inside the ``with`` must run with gradients enabled. Without any other
    tensor that requires one, all that comes before the norm costs what it costs without. ``into`` stays empty if
    there is no such norm.
    """

    here = threading.get_ident()
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
        if not activation.requires_grad:
            activation = activation.detach().requires_grad_()
        each[-1] = activation
        return activation if batch_first else activation.transpose(0, 1)

    with contextlib.ExitStack() as undo:
        if block is not None:
            undo.callback(block.register_forward_pre_hook(enter).remove)
        for norm in norms:
            undo.callback(norm.register_forward_hook(hook).remove)
        yield
    last = max(index for index, site in enumerate(layout.calls) if site.stream is not None and not site.pools)
    same = [index for index, site in enumerate(layout.calls) if site.name == layout.calls[last].name]
    of_last = each[same.index(last) * len(each) // len(same)] if each else None
    if of_last is not None:
        into.append(of_last)


def laid_in_rows(
    norm: Float[Tensor, "batch ..."], layout: Layout
) -> Float[Tensor, "batch patches channels"] | None:
    """The patches of a tensor laid out as the model does, in the order of the patch grid; None if it doesn't fit."""
    grid = layout.grid
    if norm.dim() == 4 and norm.shape[1:3] == (grid.height, grid.width):
        return norm.float().flatten(1, 2)
    if norm.dim() == 4 and norm.shape[2:4] == (grid.height, grid.width):
        return norm.float().flatten(2).transpose(1, 2)
    if norm.dim() == 3 and norm.shape[1] == layout.tokens:
        return norm.float()[:, grid.patches]
    return None


def confirms_norm(model: nn.Module, layout: Layout, image: Image) -> bool:
    """Whether the tokens at the last block's first norm lie over the image as the grid says, place for place.

    Where all layers are known to see the same tokens row by row, a single changed copy of the image shows it.
    """

    def respond(copies: Tensor) -> Tensor:
        found = []
        for part in copies.split(len(copies) if layout.together else 1):
            kept: list[Tensor] = []

            def attend(call: AttentionCall, part: Tensor = part) -> Tensor:
                rows = len(part)
                by_row = call.query.shape[0] % rows == call.value.shape[0] % rows == 0
                return unmixed(call, part) if by_row else call.run()

            with (
                recorded_norm(model, layout, kept),
                torch.no_grad(),
                fast_linear(),
                intercept(attend, written_out=layout.written_out),
            ):
                model(part)
            patches = laid_in_rows(kept[0], layout) if kept and len(kept[0]) == len(part) else None
            if patches is None:
                raise ReachedError
            found.append(patches)
        return torch.cat(found)

    grid = replace(layout.grid, order=(), prefix=0)
    size = (grid.height, grid.width)
    try:
        if not layout.obstacle and not layout.grid.order:
            (chosen,) = some_cells(grid.tokens, 1)
            tokens = respond(torch.cat([image, changed_cells(image, grid, [chosen])]))
            change = (tokens[1] - tokens[0]).norm(dim=-1)
            return same_places(torch.tensor([chosen], dtype=change.dtype, device=change.device), change[None])
        measured = measured_grid(respond, image, [size], [size], anywhere=False)
    except ReachedError:  # nothing that could be laid over the image
        return False
    return measured is not None and not measured.order


def _norms_of_last_block(model: nn.Module, layout: Layout) -> tuple[nn.Module | None, list[nn.Module]]:
    """The innermost member of a module list, around the last attention call, that has norms; and these.

    The blocks of a layout aren't used: in a hierarchical model they are its stages, or the first of them.
    """
    parts = [site.name for site in layout.layers if not site.pools][-1].split(".")
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

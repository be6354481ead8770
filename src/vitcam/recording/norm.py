"""The first normalisation of the last block: where Grad-CAM looks at a Vision Transformer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.layout import Layout


@dataclass(frozen=True)
class BlockNorm:
    """What the first normalisation that runs in the last transformer block gave, and its gradient.

    Attributes:
        activation: as the model lays it out, batch first: (batch, tokens, channels) in a plain ViT, or
            (batch, height, width, channels), or (batch, channels, height, width).
        gradient: the ordinary ∂y/∂activation, for every target.
    """

    activation: Float[Tensor, "batch ..."]
    gradient: Float[Tensor, "batch targets ..."]


@contextlib.contextmanager
def recorded_norm(model: nn.Module, layout: Layout, into: list[Tensor]) -> Iterator[None]:
    """Puts the output of the last block's first norm into ``into``, as a tensor that requires a gradient.

    The pass inside the ``with`` must run with gradients enabled. Without any other tensor that requires one,
    all that comes before the norm costs what it costs without. ``into`` stays empty if there is no such norm.
    """

    here = threading.get_ident()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != here or into or not isinstance(output, Tensor):
            return None
        batch_first = output.dim() != 3 or not layout.tokens_first
        activation = output if batch_first else output.transpose(0, 1)
        if not activation.requires_grad:
            activation = activation.detach().requires_grad_()
        into.append(activation)
        return activation if batch_first else activation.transpose(0, 1)

    with contextlib.ExitStack() as undo:
        for norm in _norms_of_last_block(model, layout):
            undo.callback(norm.register_forward_hook(hook).remove)
        yield


def _norms_of_last_block(model: nn.Module, layout: Layout) -> list[nn.Module]:
    """The norms in the innermost member of a module list, around the last attention call, that has any.

    The blocks of a layout aren't used: in a hierarchical model they are its stages, or the first of them.
    """
    parts = [site.name for site in layout.layers if not site.pools][-1].split(".")
    for end in range(len(parts), 0, -1):
        name, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
        if isinstance(model.get_submodule(parent), nn.ModuleList | nn.Sequential):
            members = model.get_submodule(name).named_modules()
            # A spectral or weight norm normalises weights: it is no layer.
            norms = [
                module
                for path, module in members
                if "norm" in type(module).__name__.lower() and "parametrizations" not in path.split(".")
            ]
            if norms:
                return norms
    return []

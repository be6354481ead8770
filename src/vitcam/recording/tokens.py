"""The tokens that pass from block to block, where gradients are asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vitcam.recording.blocks import block_input
from vitcam.recording.layout import Layout


@dataclass
class TokenPlaces:
    """The tokens of one pass at the places where their gradients are asked for.

    Attributes:
        leaves: where the graph begins: the tokens that enter the first block, as (batch, tokens, channels), or the
            images of a model in which those aren't known.
        early: the tokens that enter the first block, where the graph has begun in front of them.
        returned: what each block returned, by its name, in the order of the calls.
    """

    leaves: list[Tensor] = field(default_factory=list)
    early: list[Tensor] = field(default_factory=list)
    returned: list[tuple[str, Tensor]] = field(default_factory=list)

    def known(self, layout: Layout) -> bool:
        """Whether they are those that enter the first block, and one tensor of the same tokens for each block."""
        if len(self.leaves) != 1 or self.leaves[0].ndim != 3 or not layout.blocks:
            return False
        if [name for name, _ in self.returned] != list(layout.blocks):
            return False
        batch, tokens, channels = self.leaves[0].shape
        expected = (tokens, batch, channels) if layout.tokens_first else (batch, tokens, channels)
        return all(tuple(kept.shape) == expected for _, kept in self.returned)


@contextlib.contextmanager
def recorded_places(
    model: nn.Module, layout: Layout, batch: int, blocks: Collection[str]
) -> Iterator[TokenPlaces]:
    """What enters the first block, with which the graph begins, and what some blocks return.

    The model goes on with copies, since it may write over them.
    """
    places, here = TokenPlaces(), threading.get_ident()

    def begin(tokens: Tensor) -> Tensor:
        if tokens.requires_grad:
            if not places.leaves:  # else of a block that is called again
                places.early.append(tokens)
            return tokens
        leaf = tokens.detach().clone().requires_grad_()
        places.leaves.append(leaf)
        return leaf.clone()

    def keep(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            kept = output[0] if type(output) in (tuple, list) and output else output
            if threading.get_ident() != here or not isinstance(kept, Tensor):
                return None
            places.returned.append((name, kept))
            return kept.clone() if kept is output else type(output)((kept.clone(), *output[1:]))

        return hook

    first = layout.blocks[0] if layout.blocks and not layout.obstacle else None
    with contextlib.ExitStack() as undo:
        undo.enter_context(
            block_input(model, first, batch, layout.tokens, begin, tokens_first=layout.tokens_first)
        )
        for name in blocks if first else ():
            undo.callback(model.get_submodule(name).register_forward_hook(keep(name)).remove)
        yield places

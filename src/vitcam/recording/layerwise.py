"""The head applied to the tokens of every block, and its gradient with respect to that block's attention."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.attention import Attention
from vitcam.recording.layout import Layout
from vitcam.recording.output import find_logits
from vitcam.recording.passes import Gradient, Pass, backward, tracked_pass
from vitcam.recording.preserved import replaced_forward
from vitcam.recording.score import Scorer

LayerGradient = tuple[Attention, Gradient]


@contextlib.contextmanager
def recorded_blocks(model: nn.Module, layout: Layout, into: dict[str, Any]) -> Iterator[None]:
    """Puts what each transformer block returns into ``into``, by the block's name."""

    here = threading.get_ident()

    def keep(name: str) -> Any:
        return lambda module, args, output: (
            into.update({name: output}) if threading.get_ident() == here else None
        )

    with contextlib.ExitStack() as undo:
        for name in layout.blocks:
            undo.callback(model.get_submodule(name).register_forward_hook(keep(name)).remove)
        yield


class LayerGradients:
    """Attention layers with their gradients, in the order of the blocks; each computed when it is first asked for.

    Until then it holds on to the pass that they come from.
    """

    def __init__(self, blocks: Sequence[str], of_block: Callable[[str], tuple[LayerGradient, ...]]) -> None:
        """Takes the block of each layer, and what computes those of a block."""
        self._blocks = tuple(blocks)
        self._of_block = functools.cache(of_block)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> LayerGradient:
        index = range(len(self))[index]
        block = self._blocks[index]
        return self._of_block(block)[index - self._blocks.index(block)]


def layer_gradients(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    layout: Layout,
    run: Pass,
    scorer: Scorer,
    resumed: Callable[[], AbstractContextManager[Any]],
    *,
    pools: bool,
    mean: bool,
) -> LayerGradients | None:
    """∂y_l/∂O_l of every layer l, where y_l is the score if the head read the tokens that leave l's block.

    The gradient goes from the head to that block's attention output and no further: through token-wise
    arithmetic only. Where an attention pools the tokens for the head (SigLIP), it is that attention which is
    looked at, as it pools the tokens of each block in turn.

    Args:
        model, images, layout: as they were in the pass.
        run: a tracked pass, with what each block returned.
        scorer: the scores.
        resumed: the context that the pass ran in.
        pools: whether the head reads the tokens through an attention of its own.
        mean: whether the mean token of a block stands in for all of its tokens. Not where an attention pools.

    Returns:
        None if the model has no recognised blocks, some are called twice or never, they return tensors of different
        shapes, or its head reads anything but what the last of them returns.
    """
    callers = [site.name for site in layout.layers if not site.pools]
    if len(set(callers)) != len(callers) or set(run.blocks) != set(layout.blocks):
        return None
    if not layout.blocks or len({_shape(returned) for returned in run.blocks.values()}) != 1:
        return None
    last = _head_pass(model, images, layout, run.blocks[layout.blocks[-1]])
    if not _same_logits(run, last):
        return None

    def inside(name: str) -> tuple[Attention, ...]:
        return tuple(layer for layer in run.layers if f"{layer.name}.".startswith(f"{name}."))

    def of_block(name: str) -> tuple[LayerGradient, ...]:
        read = run.blocks[name]
        if mean and not pools:
            read = _mean_token(read, 0 if layout.tokens_first else 1)
        with resumed(), torch.enable_grad():
            head = _head_pass(model, images, layout, read)
            layers = head.layers if pools else inside(name)
            found = backward(scorer(head.output), [layer.output for layer in layers], retain_graph=True)
        detached = (replace(layer, output=layer.output.detach()) for layer in layers)
        return tuple(zip(detached, found, strict=True))

    blocks = [name for name in layout.blocks for _ in (last.layers if pools else inside(name))]
    return LayerGradients(blocks, of_block)


def _head_pass(model: nn.Module, images: Tensor, layout: Layout, returned: Any) -> Pass:
    """The model with blocks that do no work: each of them returns the same, which the head reads."""
    with contextlib.ExitStack() as undo:
        for name in layout.blocks:
            undo.enter_context(replaced_forward(model.get_submodule(name), lambda *args, **kwargs: returned))
        return tracked_pass(model, images, layout, only_outside=layout.blocks)


def _same_logits(run: Pass, head: Pass) -> bool:
    once, again = find_logits(run.output), find_logits(head.output)
    if once is None or again is None:
        return True  # a model without logits has nothing to compare by
    tolerance = 1e-3 * float(once.detach().abs().max())
    return once.shape == again.shape and torch.allclose(once, again, rtol=0, atol=tolerance)


def _shape(returned: Any) -> torch.Size:
    """The shape of the tokens that a block returned."""
    shape: torch.Size = (returned[0] if isinstance(returned, tuple | list) else returned).shape
    return shape


def _mean_token(returned: Any, tokens: int) -> Any:
    """What a block returned, with its mean token in place of every token, which stand along an axis."""
    if isinstance(returned, tuple | list):
        return (_mean_token(returned[0], tokens), *returned[1:])
    return returned.mean(dim=tokens, keepdim=True).expand_as(returned).contiguous()

"""The gradients that come back from a score to the attention layers, and why none do.

The ordinary ones, through the whole model; and layer by layer, the head applied to the tokens of every block.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import Attention
from vitcam.recording.layout import Layout
from vitcam.recording.passes import Pass, tracked_pass
from vitcam.recording.preservation import replaced_forward
from vitcam.recording.rules import Rules
from vitcam.recording.score import Scorer, find_logits

# Layers may differ in heads, rows and dim: a pooling attention has rows of its own.
Gradient = Float[Tensor, "batch targets _heads _rows _dim"]
LayerGradient = tuple[Attention, Gradient]


def gradients(run: Pass, scorer: Scorer) -> tuple[Gradient, ...]:
    """∂y/∂O of every layer of a pass, for every image and target; zero where a score doesn't depend on O."""
    return backward(scorer(run.output), [layer.output for layer in run.layers])


def backward(
    scores: Float[Tensor, "batch targets"], tensors: Sequence[Tensor], *, retain_graph: bool = False
) -> tuple[Float[Tensor, "batch targets ..."], ...]:
    """∂score/∂tensor for every image and target; zero where a score doesn't depend on a tensor.

    Args:
        scores: of a pass.
        tensors: (batch, …), from the same pass.
        retain_graph: whether there will be more gradients of this pass.
    """
    per_target = []
    for target in range(scores.shape[1]):
        again = retain_graph or target + 1 < scores.shape[1]
        # Images don't mix, so the gradient of the sum holds every image's own.
        total = scores[:, target].sum()
        per_target.append(
            gradient_of(total, tensors, again)
            if total.requires_grad
            else [torch.zeros_like(tensor) for tensor in tensors]
        )
    return tuple(torch.stack(tensor, dim=1) for tensor in zip(*per_target, strict=True))


def gradient_of(total: Tensor, tensors: Sequence[Tensor], again: bool) -> Sequence[Tensor]:
    """∂total/∂tensor; zero where it doesn't depend on one. ``again``: whether there will be more of this pass."""
    try:
        return torch.autograd.grad(total, tensors, retain_graph=again, materialize_grads=True)
    except RuntimeError as error:
        refuse_in_place(error)
        raise


def refuse_in_place(error: RuntimeError) -> None:
    """What torch raises where values that a gradient needs were written over, as an error that says what to do.

    Raises:
        ModelError: it is that.
    """
    if "inplace" in str(error).replace("in-place", "inplace"):
        raise ModelError(
            "no gradient can go back through this model: it writes over values that its gradient needs (an in-place "
            "operation such as x += …, behind which x is still needed), so it couldn't be trained either. Let it "
            "make new tensors (x = x + …)"
        ) from error


def why_unreached(model: nn.Module, run: Pass, scorer: Scorer) -> str:
    """What cuts gradients on their way from the score to attention; "" if nothing is known to."""
    name = type(model).__name__
    if run.cut:
        return (
            f"{name} runs attention layers without gradients itself (under torch.no_grad, as for a frozen "
            "backbone), so that none comes back to them. Freeze weights with requires_grad_(False) instead"
        )
    reached = [*(layer.output for layer in run.layers), *run.features.values()]
    if any(tensor.requires_grad for tensor in reached):
        scores = scorer(run.output)
        if not scores.requires_grad:
            return (
                f"between its attention layers and its output {name} cuts gradients (detach, torch.no_grad, or "
                "a function without a gradient, such as int8 layers)"
            )
    return ""


def check_reached(
    per_layer: Iterable[Float[Tensor, "batch targets ..."]],
    targets: Int[Tensor, "batch targets"],
    why: str,
    called: Callable[[int], str],
) -> None:
    """Makes sure that no target has a gradient of zero in every layer; looks at no more of them than it takes.

    Args:
        per_layer: the gradients.
        targets: the classes.
        why: what is known to cut gradients.
        called: what the score of a class is called.

    Raises:
        ModelError: one has.
    """
    reached = torch.zeros_like(targets, dtype=torch.bool)
    for gradient in per_layer:
        reached = reached | (gradient != 0).flatten(2).any(dim=2)
        if reached.all():
            return
    if why:
        raise ModelError(f"{why}. attention and rollout need no gradient and work on it")
    image, target = (~reached).nonzero()[0].tolist()
    what = called(int(targets[image, target]))
    raise ModelError(
        f"the gradient of {what} is exactly zero at every attention layer (image {image} of the batch), so "
        "there is nothing to explain. Is the head initialised with zeros, or does the score not depend on "
        "the image?"
    )


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
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    run: Pass,
    scorer: Scorer,
    resumed: Callable[[], AbstractContextManager[Any]],
    rules: Rules | None,
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
        rules: those that the pass was made by, if any; the gradient goes back through the head by the same.
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
    last = _head_pass(model, images, layout, lambda: run.blocks[layout.blocks[-1]], rules)
    if not _same_logits(run, last, scorer):
        return None

    def inside(name: str) -> tuple[Attention, ...]:
        return tuple(layer for layer in run.layers if f"{layer.name}.".startswith(f"{name}."))

    def of_block(name: str) -> tuple[LayerGradient, ...]:
        @functools.cache
        def read() -> Any:
            returned = run.blocks[name]
            return _mean_token(returned, 0 if layout.tokens_first else 1) if mean and not pools else returned

        with resumed(), torch.enable_grad():
            head = _head_pass(model, images, layout, read, rules)
            layers = head.layers if pools else inside(name)
            per_layer = backward(scorer(head.output), [layer.output for layer in layers], retain_graph=True)
        detached = (replace(layer, output=layer.output.detach()) for layer in layers)
        return tuple(zip(detached, per_layer, strict=True))

    blocks = [name for name in layout.blocks for _ in (last.layers if pools else inside(name))]
    return LayerGradients(blocks, of_block)


def _head_pass(
    model: nn.Module, images: Tensor, layout: Layout, read: Callable[[], Any], rules: Rules | None
) -> Pass:
    """The model with blocks that do no work: each of them returns the same, which the head reads.

    That is made where the first of them is called, so that rules see how.
    """
    with contextlib.ExitStack() as undo:
        for name in layout.blocks:
            undo.enter_context(replaced_forward(model.get_submodule(name), lambda *args, **kwargs: read()))
        return tracked_pass(model, images, layout, only_outside=layout.blocks, rules=rules)


def _same_logits(run: Pass, head: Pass, scorer: Scorer) -> bool:
    once, again, share = find_logits(run.output), find_logits(head.output), 1e-3
    if once is None or again is None:
        once, again, share = scorer(run.output), scorer(head.output), 1e-5
    tolerance = share * float(once.detach().abs().max())
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

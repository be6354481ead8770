"""Forward passes whose attention layers are recorded, and the gradients that come back to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.attention import Attention, among_all_tokens, with_head_dimension
from vitcam.recording.call import AttentionCall
from vitcam.recording.fast_attention import fast_attention
from vitcam.recording.fast_linear import fast_linear
from vitcam.recording.interception import Linear, intercept
from vitcam.recording.layout import Layout
from vitcam.recording.score import Scorer
from vitcam.recording.stack import module_stack

# Layers may differ in heads, rows and dim: a pooling attention has rows of its own.
Gradient = Float[Tensor, "batch targets _heads _rows _dim"]


@dataclass(frozen=True)
class Pass:
    """What one forward pass gave.

    Attributes:
        output: the model's.
        layers: its attention layers, in the order of the calls.
        norm: the first norm of the last block, where it was recorded and found.
        blocks: what each transformer block returned, by name, where it was recorded.
    """

    output: Any
    layers: tuple[Attention, ...]
    norm: Tensor | None = None
    blocks: Mapping[str, Any] = field(default_factory=dict)


def plain_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    layout: Layout,
    keep: Callable[[Attention], Attention] = lambda layer: layer,
    linear: Linear = F.linear,
) -> Pass:
    """A forward pass without gradients, unless a hook puts in a tensor that requires one.

    ``keep`` says what is kept of each layer, as soon as it ran; ``linear`` computes the linear layers.
    """
    return _run(model, images, layout, lambda call, pooling: fast_attention(call), keep, linear)


def tracked_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    layout: Layout,
    linear: Linear = F.linear,
) -> Pass:
    """A forward pass through which the ordinary gradient can go back to every attention output."""

    def attend(call: AttentionCall, pooling: bool) -> Tensor:
        output = fast_attention(call)
        return output if output.requires_grad else output.requires_grad_()

    return _run(model, images, layout, attend, linear=linear)


def detached_pass(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], layout: Layout
) -> Pass:
    """A forward pass in which nothing goes back through a block's attention: its output is a leaf.

    The gradient reaches a layer only along the skip connections, the MLPs and the head, as in the
    AGCAM paper, where every attention block detaches its input. An attention that pools the tokens for
    the head is part of the head, and is gone back through.
    """

    def attend(call: AttentionCall, pooling: bool) -> Tensor:
        if pooling:
            output = fast_attention(call)
            return output if output.requires_grad else output.requires_grad_()
        with torch.no_grad():
            output = fast_attention(call)
        return output.detach().requires_grad_()

    return _run(model, images, layout, attend)


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
            torch.autograd.grad(total, tensors, retain_graph=again, materialize_grads=True)
            if total.requires_grad
            else [torch.zeros_like(tensor) for tensor in tensors]
        )
    return tuple(torch.stack(tensor, dim=1) for tensor in zip(*per_target, strict=True))


def _run(
    model: nn.Module,
    images: Tensor,
    layout: Layout,
    attend: Callable[[AttentionCall, bool], Tensor],
    keep: Callable[[Attention], Attention] = lambda layer: layer,
    linear: Linear = F.linear,
) -> Pass:
    layers: list[Attention] = []
    with module_stack(model, frozenset(layout.callers)) as stack:

        def answer(call: AttentionCall) -> Tensor:
            name = stack[-1] if stack else ""
            pooling = name in layout.pooling
            by_head = with_head_dimension(call, images.shape[0])
            output = attend(by_head, pooling)
            seen = among_all_tokens(by_head, layout.tokens, layout.grid.patches) if pooling else by_head
            layers.append(keep(Attention(name, pooling, _detached(seen), output)))
            return output.reshape(*call.query.shape[:-1], output.shape[-1])

        with (
            torch.enable_grad(),
            fast_linear(),
            intercept(answer, linear=linear, written_out=layout.written_out),
        ):
            result = model(images)
    return Pass(result, tuple(layers))


def _detached(call: AttentionCall) -> AttentionCall:
    mask = None if call.mask is None else call.mask.detach()
    return replace(
        call, query=call.query.detach(), key=call.key.detach(), value=call.value.detach(), mask=mask
    )

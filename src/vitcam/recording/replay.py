"""A recorded forward pass once more, on its prefix tokens alone: 1/N of the work, and gradients at that price."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.attention import Attention, AttentionCall, with_head_dimension
from vitcam.recording.blocks import Tokens, block_input, changed_arguments
from vitcam.recording.gradients import Gradient, gradients
from vitcam.recording.interception import Linear, intercept
from vitcam.recording.layout import Layout
from vitcam.recording.onednn import linear_layer
from vitcam.recording.passes import Pass
from vitcam.recording.score import Scorer


def replay(
    model: nn.Module,
    image: Float[Tensor, "images channels *space"],
    layout: Layout,
    tokens: Tokens | None,
    recorded: Sequence[Attention],
    linear: Linear = F.linear,
) -> Pass | None:
    """The replay of a pass on its prefix tokens, or None where the model can't run on them alone.

    Tokens mix nowhere but in attention. With every attention answered from the record, the prefix tokens go
    through the same arithmetic as in the full pass. The attention outputs are leaves, as in
    :func:`~vitcam.recording.passes.detached_pass`. If the head reads other tokens too, the output is not that of
    the full pass.

    Args:
        model, layout: the model and its structure.
        image: any one of the images; only its size matters, for the layers in front of the first block. All of them,
            where the model is given more than images.
        tokens: the prefix tokens that went into the first block, of all images; None if that wasn't seen.
        recorded: the layers of the full pass, whose first query rows are the prefix tokens.
        linear: computes the linear layers; :meth:`LinearRows.answer` saves that work.
    """
    if tokens is None:
        return None
    # In the model's own precision, also when the full pass was in a lower one: so few tokens that it
    # costs nothing, and weights would have to be converted for them again.
    inputs = tokens.to(image.dtype)
    leaves: list[Tensor] = []

    sites = iter(layout.calls)

    def attend(call: AttentionCall) -> Tensor:
        if next(sites).stream is None:
            return call.run()
        layer = recorded[len(leaves)]
        if layer.pooling:
            # A part of the head: from the record, it would hide that the head reads the other tokens.
            output = with_head_dimension(call, inputs.shape[0]).run()
            leaf = output if output.requires_grad else output.requires_grad_()
        else:
            answer = layer.output[:, :, : inputs.shape[1]]
            leaf = answer.to(inputs.dtype).detach().requires_grad_()
        leaves.append(leaf)
        return leaf.clone().reshape(*call.query.shape[:-1], leaf.shape[-1])

    try:
        with (
            torch.enable_grad(),
            torch.autocast(image.device.type, enabled=False),
            block_input(
                model,
                layout.blocks[0],
                len(image),
                layout.tokens,
                lambda _: inputs,
                tokens_first=layout.tokens_first,
            ),
            prefix_arguments(model, layout),
            intercept(attend, linear=linear, eager=layout.eager),
        ):
            output = model(image)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, StopIteration):
        # Whatever a model raises that can't run on a few tokens (a reshape sized for all of them): the answer
        # is no, and all tokens are used.
        return None
    if len(leaves) != len(recorded):  # a model that leaves out layers now and then
        return None
    layers = [replace(layer, output=leaf) for layer, leaf in zip(recorded, leaves, strict=True)]
    return Pass(output, tuple(layers))


def replayed_gradients(replayed: Pass, scorer: Scorer) -> tuple[Gradient, ...]:
    """∂y/∂O of every layer of a replay: all targets in one backward pass, which reads the weights once."""
    leaves = [layer.output for layer in replayed.layers]
    scores = scorer(replayed.output)
    targets = scores.shape[1]
    if targets == 1 or not scores.requires_grad:
        return gradients(replayed, scorer)
    each = torch.eye(targets, dtype=scores.dtype, device=scores.device)[:, None].expand(-1, len(scores), -1)
    try:
        # The graph is retained for the other way below, should this one fail halfway.
        per_leaf = torch.autograd.grad(scores, leaves, each, retain_graph=True, is_grads_batched=True)
    except RuntimeError:  # the score uses a function whose gradient torch can't batch, or not every layer
        return gradients(replayed, scorer)
    return tuple(gradient.transpose(0, 1) for gradient in per_leaf)


@dataclass(frozen=True)
class LinearRows:
    """The rows of the prefix tokens in what every linear layer gives, from one pass to its replay.

    A replay that takes them instead of computing them needs the weights for its backward pass only, which is what
    it costs to read them at small batches. It proves nothing about the model then.

    Attributes:
        layout: the model's structure.
        batch: number of images.
        rows: of each call of a linear layer, in order; None where tokens aren't laid out as expected.
    """

    layout: Layout
    batch: int
    rows: list[Tensor | None] = field(default_factory=list)

    def record(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Computes a linear layer of the full pass."""
        output = linear_layer(input, weight, bias)
        prefix, tokens = self.layout.grid.prefix, self.layout.tokens
        rows = None
        if output.shape[:-1] == (self.batch, tokens):
            rows = output.detach()[:, :prefix].clone()
        elif output.shape[:-1] == (tokens, self.batch):
            rows = output.detach()[:prefix].clone()
        self.rows.append(rows)
        return output

    def answers(self) -> Linear:
        """What computes the linear layers of one replay, each of which it answers from the record if it can."""
        recorded = iter(self.rows)

        def answer(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            rows = next(recorded, None)
            if rows is None or rows.shape != (*input.shape[:-1], weight.shape[0]):
                return F.linear(input, weight, bias)
            output: Tensor = _Answer.apply(input, weight, rows.to(input.dtype))
            return output

        return answer


class _Answer(torch.autograd.Function):
    """A frozen linear layer whose output is known."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, output: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return output.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        # By mm and not by matmul, which the gradients of several targets would take one by one.
        flat = torch.mm(gradient.reshape(-1, gradient.shape[-1]), weight)
        return flat.reshape(*gradient.shape[:-1], -1), None, None


def prefix_arguments(model: nn.Module, layout: Layout) -> AbstractContextManager[None]:
    """Cuts what the blocks are given besides the tokens, such as a rotary embedding, to the prefix tokens' rows.

    An argument with a row per token keeps those of the prefix tokens; one with a row per patch keeps none.
    """
    kept = {layout.tokens: layout.grid.prefix, layout.grid.tokens: 0}

    def cut(value: Tensor) -> Tensor:
        has_rows = value.dim() > 1 and value.shape[-2] in kept
        return value[..., : kept[value.shape[-2]], :] if has_rows else value

    return changed_arguments(model, layout.blocks, cut)

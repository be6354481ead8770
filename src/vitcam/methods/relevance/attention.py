"""Attention with its maps written out, one image at a time, and the record of one attention layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vitcam.errors import MethodError


@dataclass(frozen=True)
class AttentionLayer:
    """What one attention call was given and gave, while relevance was being traced.

    Attributes:
        query, key, value: what ``scaled_dot_product_attention`` was given, out of the autograd graph, as
            (batch, heads, tokens, dim) with one key/value head per query head.
        mask: boolean (True takes part) or additive, or None.
        scale: what q·k is multiplied with before the softmax.
        causal: whether query i sees only keys up to i.
        output: O = softmax(S) v, in the graph: where to ask for relevance and gradients.
    """

    query: Float[Tensor, "*batch queries dim"]
    key: Float[Tensor, "*batch keys dim"]
    value: Float[Tensor, "*batch keys value_dim"]
    mask: Shaped[Tensor, ...] | None
    scale: float
    causal: bool
    output: Float[Tensor, "*batch queries value_dim"]


@dataclass(frozen=True)
class AttentionArguments:
    """The arguments of ``scaled_dot_product_attention``, brought into one form."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    causal: bool

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> AttentionArguments:
        """Takes what ``scaled_dot_product_attention`` takes; shared key/value heads are repeated.

        Raises:
            MethodError: with dropout, which would make the explanation random.
        """
        if dropout_p > 0:
            raise MethodError(
                f"the model's attention drops out weights (dropout_p={dropout_p}), so its output is random; "
                "put it into evaluation mode first: model.eval()"
            )
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (t.repeat_interleave(groups, dim=-3) for t in (key, value))
        batch = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
        query, key, value = (x.expand(*batch, -1, -1) for x in (query, key, value))
        scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
        return cls(query, key, value, attn_mask, scale, is_causal)

    def with_heads(self, images: int) -> AttentionArguments:
        """The same with (batch, heads, tokens, dim) tensors, where they are (batch · heads, tokens, dim).

        Raises:
            MethodError: the tensors have neither form.
        """
        shape = self.query.shape
        if len(shape) == 4:
            return self
        if len(shape) != 3 or shape[0] % images:
            raise MethodError(
                "relevance rules need attention over (batch, heads, tokens, dim) or (batch · heads, tokens, dim); "
                f"the model's queries are {tuple(shape)} for {images} images"
            )
        query, key, value = (x.unflatten(0, (images, -1)) for x in (self.query, self.key, self.value))
        mask = self.mask
        if mask is not None and mask.ndim == 3 and mask.shape[0] > 1:
            mask = mask.unflatten(0, (images, -1))
        return AttentionArguments(query, key, value, mask, self.scale, self.causal)


def softmax_of(
    scores: Float[Tensor, "*heads queries keys"], mask: Tensor | None, causal: bool
) -> Float[Tensor, "*heads queries keys"]:
    """A = softmax of scaled scores under a mask (boolean: True takes part; else added)."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(dim=-1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    """O = softmax(q kᵀ·scale + mask) v, by the plain formula.

    Relevance rules divide by values near 0, whose rounding fused kernels change: by the plain formula the
    maps are the authors' to float rounding. One image at a time it is no slower.
    """
    output = query.new_empty(*query.shape[:-1], value.shape[-1])
    for q, k, v, m, o in per_image(query, key, value, mask, output):
        o.copy_(softmax_of(q @ k.mT * scale, m, causal) @ v)
    return output


def attention_gradient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    causal: bool,
    message: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of :func:`attend` with respect to query, key and value."""
    results = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    for q, k, v, m, g, g_q, g_k, g_v in per_image(query, key, value, mask, message, *results):
        weights = softmax_of(q @ k.mT * scale, m, causal)
        g_v.copy_(weights.mT @ g)
        at_scores = (g @ v.mT).mul_(weights)
        at_scores -= weights * at_scores.sum(dim=-1, keepdim=True)
        g_q.copy_((at_scores @ k).mul_(scale))
        g_k.copy_((at_scores.mT @ q).mul_(scale))
    return results


def per_image(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *more: Tensor
) -> Iterator[tuple[Any, ...]]:
    """The tensors of one image after another, so that N×N maps stay small.

    They are views, so that results can be written into them.
    """
    if mask is not None:
        mask = mask.expand(*query.shape[:-1], key.shape[-2])
    tensors = (query.detach(), key.detach(), value.detach(), mask, *more)
    return (tuple(None if x is None else x[i] for x in tensors) for i in range(query.shape[0]))

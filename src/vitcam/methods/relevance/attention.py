"""Attention with its maps written out, one image at a time, and the record of one attention layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.recording import AttentionCall, with_head_dimension


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


def in_one_form(call: AttentionCall, images: int) -> AttentionCall:
    """The call with (batch, heads, tokens, dim) tensors, as many of keys and values as of queries.

    Where there are more axes, such as those of windows, all but the last three are the batch's.

    Raises:
        MethodError: the tensors are neither so nor (batch · heads, tokens, dim).
    """
    by_head = with_head_dimension(call, images)
    if by_head.query.dim() < 4:
        raise MethodError(
            "relevance rules need attention over (batch, heads, tokens, dim) or (batch · heads, tokens, dim); "
            f"the model's queries are {tuple(call.query.shape)} for {images} images"
        )
    tensors = (by_head.query, by_head.key, by_head.value)
    batch = torch.broadcast_shapes(*(x.shape[:-2] for x in tensors))
    query, key, value = (x.expand(*batch, -1, -1) for x in tensors)
    if len(batch) == 2:
        return replace(by_head, query=query, key=key, value=value)
    mask = by_head.mask
    if mask is not None:
        mask = mask.expand(*batch, query.shape[-2], key.shape[-2]).flatten(0, -4)
    query, key, value = (x.flatten(0, -4) for x in (query, key, value))
    return replace(by_head, query=query, key=key, value=value, mask=mask)


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

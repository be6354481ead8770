"""One call of ``scaled_dot_product_attention``, and what follows from its arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

_sdpa = F.scaled_dot_product_attention


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of one call of ``scaled_dot_product_attention``, dropout left out.

    Explaining is deterministic, so a call is always carried out without dropout.

    Attributes:
        query, key, value: (batch, heads, tokens, dim) as a model gives them; leading dimensions may differ.
        mask: boolean (True takes part) or additive, broadcastable to (batch, heads, queries, keys), or None.
        scale: what q·k is multiplied with before the softmax.
        is_causal: whether query i sees only keys up to i.
        enable_gqa: whether fewer key/value heads are shared by groups of query heads.
        written_out: whether the model wrote it out: then query and key are zeros and the mask holds S.
    """

    query: Float[Tensor, "*batch queries dim"]
    key: Float[Tensor, "*key_batch keys dim"]
    value: Float[Tensor, "*key_batch _keys value_dim"]  # as many as of the keys, unless those weren't kept
    mask: Shaped[Tensor, "*mask"] | None
    scale: float
    is_causal: bool
    enable_gqa: bool
    written_out: bool = False

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
    ) -> AttentionCall:
        """Takes what ``scaled_dot_product_attention`` takes."""
        scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
        return cls(query, key, value, attn_mask, scale, is_causal, enable_gqa)

    def run(self) -> Float[Tensor, "*batch queries value_dim"]:
        """Carries out the call with torch's own kernel."""
        gqa = {"enable_gqa": True} if self.enable_gqa else {}
        return _sdpa(
            self.query,
            self.key,
            self.value,
            attn_mask=self.mask,
            is_causal=self.is_causal,
            scale=self.scale,
            **gqa,
        )


def attention_scores(call: AttentionCall, rows: slice = slice(None)) -> Float[Tensor, "*batch queries keys"]:
    """S = q kᵀ · scale (+ mask) of one call, for some of its query rows. Keys hidden by a mask get -inf."""
    query = call.query[..., rows, :]
    scores = (query * call.scale) @ call.key.transpose(-2, -1)
    if call.mask is not None:
        mask = call.mask if call.mask.shape[-2] == 1 else call.mask[..., rows, :]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if call.is_causal:
        queries, keys = call.query.shape[-2], call.key.shape[-2]
        visible = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible[rows], -torch.inf)
    return scores


def attention_probabilities(scores: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch keys"]:
    """A = softmax(S), in fp32."""
    return scores.float().softmax(dim=-1)

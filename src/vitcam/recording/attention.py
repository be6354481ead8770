"""Attention: one call of ``scaled_dot_product_attention``, and the record of one layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

_sdpa = F.scaled_dot_product_attention
CHUNK_BYTES = 16 * 2**20


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
        eager: whether the model computes it step by step: then query and key are zeros and the mask holds S.
    """

    query: Float[Tensor, "*batch queries dim"]
    key: Float[Tensor, "*key_batch keys dim"]
    value: Float[Tensor, "*key_batch _keys value_dim"]  # as many as of the keys, unless those weren't kept
    mask: Shaped[Tensor, "*mask"] | None
    scale: float
    is_causal: bool
    enable_gqa: bool
    eager: bool = False

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


@dataclass(frozen=True)
class Attention:
    """One attention layer of one forward pass.

    Attributes:
        name: the path of the module that made the call, as in ``model.named_modules()``.
        pooling: True for an attention outside the transformer blocks, which pools the tokens for the head.
        call: query, key and value as (batch, heads, tokens, dim); the query may hold the first rows only.
        output: O = softmax(S) v, for the same rows as the query.
        kept_scores: S of these rows, where it is kept in the place of the key, which then has no rows.
        stream: which stream of tokens it is a layer of.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> recording = record(model, images, score, Need.GRADIENT)
        >>> last = recording.layers[-1]
        >>> last.name, last.scores().shape  # S: images, heads, queries, keys
        ('blocks.11.attn', torch.Size([8, 12, 197, 197]))
        >>> row = last.probabilities(slice(0, 1))  # the class token's row of A
        >>> row.shape, row.sum(dim=-1).allclose(torch.ones(()))
        (torch.Size([8, 12, 1, 197]), True)
        >>> last.map_gradient(recording.gradients[-1][:, 0]).shape  # ∂y/∂A of the first target
        torch.Size([8, 12, 197, 197])
        >>> list(last.row_chunks())[0]
        slice(0, ..., None)
    """

    name: str
    pooling: bool
    call: AttentionCall
    output: Float[Tensor, "batch heads queries dim"]
    kept_scores: Float[Tensor, "batch heads queries keys"] | None = None
    stream: int = 0

    @property
    def queries(self) -> int:
        """The number of query rows kept."""
        return self.call.query.shape[-2]

    @property
    def keys(self) -> int:
        """The number of key tokens."""
        return self.call.value.shape[-2]

    @property
    def value(self) -> Float[Tensor, "batch heads keys dim"]:
        return self.call.value

    def scores(self, rows: slice = slice(None)) -> Float[Tensor, "batch heads rows keys"]:
        """S = q kᵀ · scale (+ mask), before the softmax."""
        if self.kept_scores is not None:
            return self.kept_scores[:, :, rows]
        return attention_scores(self.call, rows)

    def probabilities(self, rows: slice = slice(None)) -> Float[Tensor, "batch heads rows keys"]:
        """A = softmax(S), in fp32."""
        return attention_probabilities(self.scores(rows))

    def map_gradient(
        self, gradient: Float[Tensor, "batch heads rows dim"]
    ) -> Float[Tensor, "batch heads rows keys"]:
        """∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩ of the rows whose ∂y/∂O is given, in fp32."""
        return (gradient @ self.value.to(gradient.dtype).transpose(-2, -1)).float()

    def row_chunks(self, rows: int | None = None, copies: int = 1) -> Iterator[slice]:
        """Cuts the query rows so that ``copies`` fp32 maps of a chunk take about 16 MiB.

        So that a method which needs whole maps never holds those of all rows at once.
        """
        total = self.queries if rows is None else rows
        batch, heads = self.call.query.shape[:2]
        step = max(1, CHUNK_BYTES // (4 * batch * heads * self.keys * max(1, copies)))
        return (slice(start, min(start + step, total)) for start in range(0, total, step))


def with_head_dimension(call: AttentionCall, batch: int) -> AttentionCall:
    """The call with (batch, heads, tokens, dim) tensors, one key/value head per query head.

    Three-dimensional tensors are (batch · heads, tokens, dim), as older code has them.
    """
    query, key, value, mask = call.query, call.key, call.value, call.mask
    if query.dim() == 3 and query.shape[0] % batch == 0:
        query, key, value = (t.unflatten(0, (batch, t.shape[0] // batch)) for t in (query, key, value))
        if mask is not None and mask.dim() == 3 and mask.shape[0] > 1:
            mask = mask.unflatten(0, (batch, mask.shape[0] // batch))
    if call.enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, dim=-3), value.repeat_interleave(groups, dim=-3)
    return replace(call, query=query, key=key, value=value, mask=mask, enable_gqa=False)


def among_all_tokens(call: AttentionCall, tokens: int, patches: slice | list[int]) -> AttentionCall:
    """A call that sees the patches only, as one that sees every token and to which all others are hidden.

    So pool some heads the tokens of a model with registers. Any other call is returned as it is.
    """
    keys = call.key.shape[-2]
    if keys == tokens or isinstance(patches, list) or keys != patches.stop - patches.start:
        return call
    around = patches.start, tokens - patches.stop
    mask = call.query.new_zeros(1, 1, 1, keys) if call.mask is None else call.mask
    hidden = False if mask.dtype == torch.bool else -torch.inf
    key, value = (F.pad(tensor, (0, 0, *around)) for tensor in (call.key, call.value))
    return replace(call, key=key, value=value, mask=F.pad(mask, around, value=hidden))


def first_rows(attention: Attention, rows: int) -> Attention:
    """The record with only the first query rows, their scores in the place of the key: half of the memory.

    Query, key and value are often views of one tensor, which would be kept alive whole, and scattered over it,
    so that every product with them would copy them again.
    """
    call = attention.call
    with torch.autocast(call.query.device.type, enabled=False):
        # A product with the scattered keys of several images would copy them, and that slowly.
        key = call.key if call.key.shape[0] == 1 else call.key.contiguous()
        scores = attention_scores(replace(call, key=key), slice(rows))
    trimmed = replace(
        call,
        query=call.query[:, :, :rows].clone(),
        key=call.key.new_empty(*call.key.shape[:-2], 0, call.key.shape[-1]),
        value=_compact(call.value),
        mask=None,
    )
    return replace(attention, call=trimmed, output=attention.output[:, :, :rows].clone(), kept_scores=scores)


def _compact(tensor: Tensor) -> Tensor:
    shared = tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    return tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()

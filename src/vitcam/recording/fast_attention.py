"""Attention in bf16 on a CPU, at the speed of oneDNN.

torch's fused kernel multiplies by MKL, which on processors without matrix units (AMX) makes nothing of bf16.
Written out, with maps that stay in the cache, softmax(q kᵀ) v takes half of its time on a Zen 5 core, for the 50 to
1,000 tokens of a ViT. In fp32, torch gives products of many small matrices to MKL whatever they are written as.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.recording.call import AttentionCall

_CHUNK_BYTES = 4 * 2**20
"""Of maps, per thread: what stays in the cache."""


def fast_attention(call: AttentionCall) -> Float[Tensor, "*batch queries value_dim"]:
    """Carries out a call, by oneDNN where that is faster than torch's own kernel; rounding differs.

    The fused kernel is kept for other precisions and devices, for masks, and where gradients go back through it.
    """
    if not _helps(call):
        return call.run()
    query, key, value = call.query, call.key, call.value
    batch, heads, queries, _ = query.shape
    # As a fused kernel lays it out: models put the heads of a token side by side.
    output = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        # A score less the row's mean gives the same softmax, and is smaller, so that bf16 has finer steps for it.
        centred = key - key.mean(dim=-2, keepdim=True)
        for images, some, rows in _parts(batch, heads, queries, key.shape[-2]):
            scores = (query[images, some, rows] * call.scale) @ centred[images, some].mT
            output[images, some, rows] = torch.softmax(scores, dim=-1, out=scores) @ value[images, some]
    return output


def _helps(call: AttentionCall) -> bool:
    tensors = (call.query, call.key, call.value)
    return bool(
        _AVAILABLE
        and torch.backends.mkldnn.enabled
        and all(type(x) is Tensor and x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in tensors)
        and all(x.dim() == 4 and x.shape[:2] == call.query.shape[:2] for x in tensors)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
        and call.mask is None
        and not call.is_causal
    )


def _available() -> bool:
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return bool(both and torch.ops.mkldnn._is_mkldnn_bf16_supported() and not has_amx())


_AVAILABLE = _available()


def _parts(batch: int, heads: int, queries: int, keys: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cuts a call into images, heads and query rows whose maps are small."""
    rows = _CHUNK_BYTES * torch.get_num_threads() // (2 * keys)
    return product(_cut(batch, rows // (heads * queries)), _cut(heads, rows // queries), _cut(queries, rows))


def _cut(total: int, step: int) -> list[slice]:
    step = max(1, step)
    return [slice(start, start + step) for start in range(0, total, step)]

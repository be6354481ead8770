from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitcam.recording.attention import AttentionCall, attention_probabilities, attention_scores
from vitcam.recording.onednn import fast_attention

module = sys.modules[fast_attention.__module__]


def call_of(batch: int, heads: int, queries: int, keys: int) -> AttentionCall:
    torch.manual_seed(0)
    tokens = torch.randn(batch, keys, 3, heads, 16).bfloat16()
    query, key, value = tokens.permute(2, 0, 3, 1, 4).unbind(0)
    return AttentionCall.of(
        query[:, :, :queries], key + 8, value
    )  # a mean of the keys that bf16 has to cope with


def exact(call: AttentionCall) -> Tensor:
    doubled = replace(call, query=call.query.double(), key=call.key.double(), value=call.value.double())
    return attention_probabilities(attention_scores(doubled)).double() @ doubled.value


needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.enabled, reason="oneDNN is switched off")


@pytest.fixture
def fused(monkeypatch) -> list[AttentionCall]:
    """The calls that torch's own kernel answered."""
    calls: list[AttentionCall] = []
    run = AttentionCall.run
    monkeypatch.setattr(AttentionCall, "run", lambda call: calls.append(call) or run(call))
    monkeypatch.setattr(module, "_ATTENTION_AVAILABLE", True)
    return calls


@needs_onednn
@pytest.mark.parametrize("maps", [1, 7, 3 * 50, 2 * 3 * 50, 1000])
@pytest.mark.parametrize("shape", [(5, 3, 50, 50), (2, 3, 1, 50)], ids=["all rows", "one row"])
def test_is_attention_in_chunks_of_any_size(shape, maps, fused, monkeypatch):
    call = call_of(*shape)
    monkeypatch.setattr(module, "_CHUNK_BYTES", maps * 2 * shape[-1] // torch.get_num_threads())
    output = fast_attention(call)
    expected = exact(call)
    assert not fused
    assert output.dtype == torch.bfloat16
    assert output.transpose(1, 2).is_contiguous()  # as torch's own kernel lays it out
    torch.testing.assert_close(output.double(), expected, atol=0.02, rtol=0)
    written_out = attention_scores(call).softmax(dim=-1) @ call.value
    assert (output - expected).square().mean() < (written_out - expected).square().mean() / 2


@pytest.mark.parametrize(
    "change",
    [
        lambda call: replace(call, query=call.query.float(), key=call.key.float(), value=call.value.float()),
        lambda call: replace(call, mask=torch.ones(50, 50, dtype=torch.bool).tril()),
        lambda call: replace(call, is_causal=True),
        lambda call: replace(call, key=call.key[:, :1], value=call.value[:, :1], enable_gqa=True),
        lambda call: replace(call, query=call.query[0], key=call.key[0], value=call.value[0]),
        lambda call: replace(call, value=call.value.clone().requires_grad_()),
    ],
    ids=["fp32", "mask", "causal", "shared heads", "3-D", "gradient"],
)
def test_leaves_others_to_torch(change, fused):
    call = change(call_of(2, 3, 50, 50))
    assert torch.equal(fast_attention(call), call.run())
    assert len(fused) == 2


@needs_onednn
def test_under_autocast_and_in_inference_mode(fused):
    call = call_of(2, 3, 50, 50)
    expected = fast_attention(call)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast_attention(call), expected)
    assert not fused

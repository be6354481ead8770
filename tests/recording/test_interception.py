"""The interception sees every attention call, answers it, and leaves no trace."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitcam.recording.attention import Attention, first_rows, with_head_dimension
from vitcam.recording.interception import intercept


def naive(q, k, v, mask=None, scale=None, causal=False):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if causal:
        scores = scores.masked_fill(~torch.ones(q.shape[-2], k.shape[-2]).tril().bool(), -torch.inf)
    return scores, scores.softmax(-1)


def recorded(q, k, v, batch=2, **options):
    layers = []

    def attend(call):
        output = call.run()
        heads = with_head_dimension(call, batch)
        layers.append(Attention("x", False, heads, output.reshape(*heads.query.shape[:-1], output.shape[-1])))
        return output

    with intercept(attend):
        output = F.scaled_dot_product_attention(q, k, v, **options)
    (layer,) = layers
    return layer, output


def qkv(*shape):
    return torch.randn(3, *shape).unbind(0)


CASES = {
    "plain": {},
    "scale": {"scale": 0.3},
    "additive mask": {"attn_mask": torch.randn(1, 3, 5, 5)},
    "boolean mask": {"attn_mask": torch.ones(5, 5).tril().bool()},
    "mask over keys": {"attn_mask": torch.tensor([True, True, False, True, True]).expand(2, 1, 1, 5)},
    "causal": {"is_causal": True},
    "dropout is left out": {"dropout_p": 0.5},
}


@pytest.mark.parametrize("case", CASES)
def test_scores_maps_and_output(case):
    options = CASES[case]
    q, k, v = qkv(2, 3, 5, 4)
    layer, output = recorded(q, k, v, **options)
    scores, maps = naive(q, k, v, options.get("attn_mask"), options.get("scale"), "is_causal" in options)
    torch.testing.assert_close(layer.scores(), scores)
    torch.testing.assert_close(layer.probabilities(), maps)
    torch.testing.assert_close(output, maps @ v)
    torch.testing.assert_close(layer.scores(slice(1, 3)), scores[:, :, 1:3])
    trimmed = first_rows(layer, 2)
    torch.testing.assert_close(trimmed.scores(), scores[:, :, :2])
    torch.testing.assert_close(trimmed.output, output[:, :, :2])


def test_three_dimensional_inputs_are_batch_times_heads():
    q, k, v = qkv(2 * 3, 5, 4)
    layer, _ = recorded(q, k, v)
    assert layer.call.query.shape == (2, 3, 5, 4)
    torch.testing.assert_close(layer.probabilities().flatten(0, 1), naive(q, k, v)[1])


def test_grouped_heads_are_spread():
    q = torch.randn(2, 4, 5, 8)
    k, v = torch.randn(2, 2, 2, 5, 8).unbind(0)
    layer, output = recorded(q, k, v, enable_gqa=True)
    spread = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    maps = naive(q, *spread)[1]
    torch.testing.assert_close(layer.probabilities(), maps)
    torch.testing.assert_close(output, maps @ spread[1])


def test_row_chunks_cover_all_rows_within_the_budget(monkeypatch):
    import vitcam.recording.attention as room

    q, k, v = qkv(2, 3, 50, 4)
    layer, _ = recorded(q, k, v)
    monkeypatch.setattr(room, "CHUNK_BYTES", 4 * 2 * 3 * 50 * 7)
    chunks = list(layer.row_chunks())
    assert [rows for chunk in chunks for rows in range(50)[chunk]] == list(range(50))
    assert max(chunk.stop - chunk.start for chunk in chunks) == 7


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_multi_head_attention_is_seen_and_gives_the_same(need_weights, average, batched):
    module = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    x = torch.randn(2, 5, 12) if batched else torch.randn(5, 12)
    options = {"need_weights": need_weights, "average_attn_weights": average}
    before = F.scaled_dot_product_attention
    with torch.no_grad():
        expected, expected_weights = module(x, x, x, **options)
        calls = []
        with intercept(lambda call: calls.append(call) or call.run()):
            output, weights = module(x, x, x, **options)
    assert len(calls) == 1
    assert F.scaled_dot_product_attention is before
    torch.testing.assert_close(output, expected)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights)
    else:
        assert weights is None


def test_transformer_encoder_takes_no_fast_path():
    layer = nn.TransformerEncoderLayer(12, 3, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x, calls = torch.randn(2, 5, 12), []
    with torch.no_grad():
        expected = encoder(x)
        with intercept(lambda call: calls.append(call) or call.run()):
            output = encoder(x)
    assert len(calls) == 2
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_linear_layers_inside_multi_head_attention_are_seen():
    module, x, weights = nn.MultiheadAttention(12, 3), torch.randn(5, 2, 12), []

    def linear(input, weight, bias=None):
        weights.append(weight)
        return torch.addmm(bias, input.flatten(0, -2), weight.mT).unflatten(0, input.shape[:-1])

    with torch.no_grad():
        expected, _ = module(x, x, x, need_weights=False)
        with intercept(lambda call: call.run(), linear=linear):
            output, _ = module(x, x, x, need_weights=False)
    assert [weight.shape for weight in weights] == [(36, 12), (12, 12)]
    torch.testing.assert_close(output, expected)


def test_other_threads_pass_through():
    module, x = nn.MultiheadAttention(12, 3), torch.randn(5, 2, 12)
    calls, inside, go_on = [], threading.Event(), threading.Event()
    q, k, v = qkv(1, 1, 5, 4)

    def wait(call):
        calls.append(call)
        inside.set()
        assert go_on.wait(10)
        return call.run()

    def explain():
        with intercept(wait):
            module(x, x, x, need_weights=False)

    thread = threading.Thread(target=explain)
    thread.start()
    assert inside.wait(10)
    output = F.scaled_dot_product_attention(q, k, v)
    go_on.set()
    thread.join()
    assert len(calls) == 1
    torch.testing.assert_close(output, naive(q, k, v)[1] @ v)

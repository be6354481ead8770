from __future__ import annotations

import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitcam.recording.onednn import fast_linear


@pytest.fixture
def computed(monkeypatch) -> list[torch.Size]:
    """The shapes of what oneDNN computed, forward and back."""
    shapes: list[torch.Size] = []

    def watched(function):
        def spy(input, *args, **kwargs):
            shapes.append(input.shape)
            return function(input, *args, **kwargs)

        return spy

    module = sys.modules[fast_linear.__module__]
    monkeypatch.setattr(module, "_onednn_linear", watched(module._onednn_linear))
    monkeypatch.setattr(F, "conv_transpose2d", watched(F.conv_transpose2d))
    return shapes


needs_both = pytest.mark.skipif(
    not (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    ),
    reason="this torch has no MKL or no oneDNN, or it is switched off: there is nothing to choose between",
)


@needs_both
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "tokens",
    [
        torch.randn(3, 17, 24),
        torch.randn(3, 24, 17).transpose(1, 2),
        torch.randn(3, 1, 24),
        torch.randn(1, 17, 24),
        torch.randn(3, 24),
        torch.randn(2, 2, 5, 24),
        torch.randn(3, 400, 24),
    ],
    ids=["tokens", "strided", "one token", "one image", "no tokens", "4-D", "many tokens"],
)
def test_equals_a_linear_layer(bias, tokens, computed):
    layer = nn.Linear(24, 40, bias=bias)
    with torch.inference_mode():
        expected = layer(tokens)
        with fast_linear():
            got = layer(tokens)
    assert got.shape == expected.shape
    assert got.is_contiguous()
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert computed == [tokens.shape]


@pytest.mark.parametrize("tokens", [torch.randn(24), torch.randn(3, 17, 24).double()], ids=["1-D", "fp64"])
def test_leaves_others_alone(tokens, computed):
    layer = nn.Linear(24, 40).to(tokens.dtype)
    with torch.inference_mode(), fast_linear():
        got = layer(tokens)
    assert torch.equal(got, layer(tokens))
    assert not computed


@needs_both
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("tokens", "products"), [(5, 2), (50, 4)], ids=["few", "many"])
def test_gradients_through_a_frozen_layer_twice(bias, tokens, products, computed):
    layer = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    tokens = torch.randn(3, tokens, 24, requires_grad=True)

    def derivatives() -> tuple[torch.Tensor, torch.Tensor]:
        (first,) = torch.autograd.grad(layer(tokens).tanh().square().sum(), tokens, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), tokens)
        return first, second

    expected = derivatives()
    assert not computed
    with fast_linear():
        got = derivatives()
        output = layer(tokens)
    kept = output.grad_fn.saved_tensors
    assert len(computed) == products
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert [tensor.data_ptr() for tensor in kept] == [layer.weight.data_ptr()]


@needs_both
@pytest.mark.parametrize("reading", [[0], [0, 1], [48, 0], [7, 30]], ids=str)
def test_gradients_of_some_tokens_alone(reading, computed):
    layer = nn.Linear(24, 40).requires_grad_(False)
    tokens = torch.randn(3, 50, 24, requires_grad=True)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(layer(tokens)[:, reading].tanh().square().sum(), tokens)[0]

    expected = gradient()
    with fast_linear():
        got = gradient()
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert not got[:, [token for token in range(50) if token not in reading]].any()
    # Few rows are no longer multiplied as a convolution: the forward pass alone is counted.
    assert computed == [tokens.shape]


@needs_both
def test_gradients_of_one_token_can_be_differentiated_by_every_token():
    layer, tokens = nn.Linear(24, 40).requires_grad_(False), torch.randn(3, 50, 24, requires_grad=True)
    given = torch.zeros(3, 50, 40).index_fill(1, torch.tensor([0]), 1.0).requires_grad_()

    def derivative() -> torch.Tensor:
        (first,) = torch.autograd.grad(layer(tokens), tokens, given, create_graph=True)
        return torch.autograd.grad(first.sum(), given)[0]

    expected = derivative()
    with fast_linear():
        torch.testing.assert_close(derivative(), expected, atol=1e-5, rtol=1e-5)


def test_leaves_gradients_of_weights_and_autocast_alone(computed):
    layer, tokens = nn.Linear(24, 40), torch.randn(3, 17, 24)
    with fast_linear():
        layer(tokens).sum().backward()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert layer(tokens).dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert not computed


@needs_both
def test_ends_with_the_with_and_holds_for_one_thread(computed):
    layer, tokens = nn.Linear(24, 40), torch.randn(3, 17, 24)

    def run() -> None:
        with torch.inference_mode():
            layer(tokens)

    with fast_linear():
        other = threading.Thread(target=run)
        other.start()
        other.join()
    run()
    assert not computed
    with fast_linear():
        run()
    assert len(computed) == 1

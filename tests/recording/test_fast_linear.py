from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitcam.recording.fast_linear import fast_linear


@pytest.fixture
def convolutions(monkeypatch) -> list[torch.Size]:
    """The shapes that went to a convolution."""
    shapes: list[torch.Size] = []
    convolve = F.conv2d

    def spy(input, *args, **kwargs):
        shapes.append(input.shape)
        return convolve(input, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", spy)
    return shapes


needs_both = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()),
    reason="this torch has no MKL or no oneDNN, so that there is nothing to choose between",
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
    ],
    ids=["tokens", "strided", "one token", "one image"],
)
def test_equals_a_linear_layer(bias, tokens, convolutions):
    layer = nn.Linear(24, 40, bias=bias)
    with torch.inference_mode():
        expected = layer(tokens)
        with fast_linear():
            got = layer(tokens)
    assert got.shape == expected.shape
    assert got.is_contiguous()
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert convolutions == [(len(tokens), 24, tokens.shape[1], 1)]


@pytest.mark.parametrize(
    "tokens",
    [torch.randn(3, 24), torch.randn(3, 17, 24).double(), torch.randn(2, 2, 5, 24)],
    ids=["no tokens", "fp64", "4-D"],
)
def test_leaves_others_alone(tokens, convolutions):
    layer = nn.Linear(24, 40).to(tokens.dtype)
    with torch.inference_mode(), fast_linear():
        got = layer(tokens)
    assert torch.equal(got, layer(tokens))
    assert not convolutions


@needs_both
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_through_a_frozen_layer_twice(bias, convolutions):
    layer = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    tokens = torch.randn(3, 17, 24, requires_grad=True)

    def derivatives() -> tuple[torch.Tensor, torch.Tensor]:
        (first,) = torch.autograd.grad(layer(tokens).tanh().square().sum(), tokens, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), tokens)
        return first, second

    expected = derivatives()
    assert not convolutions
    with fast_linear():
        got = derivatives()
        kept = layer(tokens).grad_fn.saved_tensors
    assert len(convolutions) == 2
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert [tensor.data_ptr() for tensor in kept] == [layer.weight.data_ptr()]


def test_leaves_gradients_of_weights_and_autocast_alone(convolutions):
    layer, tokens = nn.Linear(24, 40), torch.randn(3, 17, 24)
    with fast_linear():
        layer(tokens).sum().backward()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert layer(tokens).dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert not convolutions


@needs_both
def test_ends_with_the_with_and_holds_for_one_thread(convolutions):
    layer, tokens = nn.Linear(24, 40), torch.randn(3, 17, 24)

    def run() -> None:
        with torch.inference_mode():
            layer(tokens)

    with fast_linear():
        other = threading.Thread(target=run)
        other.start()
        other.join()
    run()
    assert not convolutions
    with fast_linear():
        run()
    assert len(convolutions) == 1

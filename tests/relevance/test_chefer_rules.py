"""Chefer's rules, one operation at a time."""

from __future__ import annotations

import lrp_oracle
import pytest
import torch
import torch.nn.functional as F
from relevance_models import propagated
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance import CHEFER


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rules(function, x: Tensor, relevance: Tensor) -> Tensor:
    return propagated(function, x, relevance, CHEFER)


@pytest.mark.parametrize("bias", [None, randn(7, seed=3) * 5])
def test_linear(bias: Tensor | None) -> None:
    x, weight, relevance = randn(2, 5, 6), randn(7, 6, seed=1), randn(2, 5, 7, seed=2)
    found = rules(lambda x: F.linear(x, weight, bias), x, relevance)
    torch.testing.assert_close(found, lrp_oracle.linear(x, weight, relevance))
    supported = (x[..., None, :] * weight > 0).any(-1)
    torch.testing.assert_close(found.sum(-1), (relevance * supported).sum(-1))


def test_linear_drops_relevance_of_outputs_without_positive_contributions() -> None:
    x, weight = torch.tensor([[0.1, 0.7]]), torch.tensor([[-0.3, -1.7], [1.0, 1.0]])
    found = rules(lambda x: F.linear(x, weight), x, torch.tensor([[5.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.125, 0.875]]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_product_with_a_constant_is_a_linear_map(side: str) -> None:
    x, weight = randn(2, 5, 6), randn(7, 6, seed=1)
    if side == "right":
        relevance = randn(2, 5, 7, seed=2)
        found = rules(lambda x: x @ weight.T, x, relevance)
        expected = lrp_oracle.linear(x, weight, relevance)
    else:
        relevance = randn(2, 7, 5, seed=2)
        found = rules(lambda x: weight @ x, x.mT, relevance)
        expected = lrp_oracle.linear(x, weight, relevance.mT).mT
    torch.testing.assert_close(found, expected)


def test_convolution_is_the_linear_map_of_its_patches() -> None:
    x, weight, bias, relevance = (
        randn(2, 3, 8, 8),
        randn(5, 3, 4, 4, seed=1),
        randn(5, seed=2),
        randn(2, 5, 2, 2, seed=3),
    )
    patches = F.unfold(x, 4, stride=4).mT
    expected = lrp_oracle.linear(patches, weight.flatten(1), relevance.flatten(2).mT)
    found = rules(lambda x: F.conv2d(x, weight, bias, stride=4), x, relevance)
    torch.testing.assert_close(F.unfold(found, 4, stride=4).mT, expected)


def test_add_rescales_each_image_by_its_own_sums() -> None:
    x, relevance = randn(3, 4, 5), randn(3, 4, 5, seed=1)
    found = rules(lambda x: x[:, :, :2] + x[:, :, 3:], x, relevance[:, :, :2])
    for i in range(3):
        a, b = lrp_oracle.add(x[i, :, :2], x[i, :, 3:], relevance[i, :, :2])
        torch.testing.assert_close(found[i], torch.cat([a, torch.zeros(4, 1), b], dim=1))
    torch.testing.assert_close(found.sum((1, 2)), relevance[:, :, :2].sum((1, 2)))


@pytest.mark.parametrize("write", ["x + y", "x += y", "x.add_(y)", "torch.add(input=x, other=y)", "x - (-y)"])
def test_add_in_every_spelling(write: str) -> None:
    def function(x: Tensor) -> Tensor:
        names = {"x": x[:, :2] * 1, "y": x[:, 2:], "torch": torch}
        exec(f"{write}\nresult = x" if "=" in write and "(" not in write else f"result = {write}", names)
        return names["result"]

    x, relevance = randn(2, 4), randn(2, 2, seed=1)
    torch.testing.assert_close(
        rules(function, x, relevance), rules(lambda x: x[:, :2] + x[:, 2:], x, relevance)
    )


def test_add_needs_to_know_the_image() -> None:
    with pytest.raises(
        MethodError, match=r"add adds tensors of shape \(15,\), which has no axis of 3 images"
    ):
        rules(lambda x: (x.flatten() + x.exp().flatten()).view(3, 5), randn(3, 5), randn(3, 5))


def test_a_constant_added_takes_nothing() -> None:
    x, relevance = randn(2, 1, 4), randn(2, 3, 4, seed=1)
    found = rules(lambda x: x + randn(3, 4, seed=2), x, relevance)
    torch.testing.assert_close(found, relevance.sum(1, keepdim=True))


@pytest.mark.parametrize(
    "function",
    [
        F.gelu,
        F.silu,
        torch.tanh,
        F.relu,
        lambda x: F.relu(x, inplace=True),
        lambda x: x.clone().relu_(),
        lambda x: F.layer_norm(x, (4,), randn(4), randn(4)),
        lambda x: F.rms_norm(x, (4,), randn(4)),
        lambda x: F.normalize(x, dim=-1),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x.softmax(-1),
        lambda x: F.softmax(x, dim=-1),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: torch.sigmoid(1.702 * x) * x,
        lambda x: x * randn(4),
        lambda x: 2 * x / 3,
        lambda x: -x,
        lambda x: 1 - x,
        lambda x: x.clone().mul_(randn(4)),
        lambda x: x.view(2, 2, 3, 2).flatten(2).reshape(x.shape),
    ],
)
def test_passes_unchanged(function) -> None:
    relevance = randn(2, 3, 4, seed=1)
    torch.testing.assert_close(rules(function, randn(2, 3, 4), relevance), relevance)


def test_selection_concatenation_and_reuse_move_relevance() -> None:
    x, relevance = randn(2, 3), randn(2, 4, seed=1)
    found = rules(lambda x: torch.cat([x[:, :1], x[:, 1:2], x[:, :2]], dim=1), x, relevance)
    expected = torch.stack(
        [relevance[:, 0] + relevance[:, 2], relevance[:, 1] + relevance[:, 3], torch.zeros(2)], 1
    )
    torch.testing.assert_close(found, expected)


def test_a_mean_shares_by_value() -> None:
    x, relevance = randn(2, 3, 4), randn(2, 4, seed=1)
    found = rules(lambda x: x.mean(dim=1), x, relevance)
    torch.testing.assert_close(found, x / x.sum(1, keepdim=True) * relevance[:, None])


def test_a_product_gives_halves() -> None:
    x, relevance = randn(2, 4), randn(2, 2, seed=1)
    found = rules(lambda x: x[:, :2] * x[:, 2:], x, relevance)
    torch.testing.assert_close(found, relevance.repeat(1, 2) / 2)


def attention_inputs() -> tuple[Tensor, Tensor]:
    return randn(2, 3 * 4, 5, 6), randn(2, 4, 5, 6, seed=1)


@pytest.mark.parametrize("explicit", [False, True])
def test_attention(explicit: bool) -> None:
    def function(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, dim=1)
        if explicit:
            return ((q * 0.3) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return F.scaled_dot_product_attention(q, k, v, scale=0.3)

    x, relevance = attention_inputs()
    q, k, v = x.chunk(3, dim=1)
    _, *expected = lrp_oracle.attention(q, k, v, (q @ k.mT * 0.3).softmax(-1), relevance)
    torch.testing.assert_close(rules(function, x, relevance), torch.cat(expected, 1), rtol=1e-5, atol=1e-7)


MASK = torch.tensor([[True, False, True, True, False]]).expand(5, 5)


@pytest.mark.parametrize(
    ("settings", "bias"),
    [
        (
            {"is_causal": True},
            torch.zeros(5, 5).masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf),
        ),
        ({"attn_mask": MASK}, torch.zeros(5, 5).masked_fill(~MASK, -torch.inf)),
        ({"attn_mask": randn(2, 1, 5, 5, seed=5)}, randn(2, 1, 5, 5, seed=5)),
    ],
)
def test_attention_under_a_mask(settings: dict, bias: Tensor) -> None:
    x, relevance = attention_inputs()
    q, k, v = x.chunk(3, dim=1)
    weights = (q @ k.mT * 6**-0.5 + bias).softmax(-1)
    _, *expected = lrp_oracle.attention(q, k, v, weights, relevance)
    found = rules(lambda x: F.scaled_dot_product_attention(*x.chunk(3, dim=1), **settings), x, relevance)
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=1e-5, atol=1e-7)


def test_attention_with_grouped_heads_adds_the_groups() -> None:
    x, relevance = randn(2, 4 + 2 + 2, 5, 6), randn(2, 4, 5, 6, seed=1)
    q, k, v = x.split([4, 2, 2], dim=1)
    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    _, r_q, r_k, r_v = lrp_oracle.attention(q, k, v, (q @ k.mT * 6**-0.5).softmax(-1), relevance)
    expected = torch.cat([r_q, r_k.unflatten(1, (2, 2)).sum(2), r_v.unflatten(1, (2, 2)).sum(2)], 1)
    found = rules(
        lambda x: F.scaled_dot_product_attention(*x.split([4, 2, 2], dim=1), enable_gqa=True), x, relevance
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_attention_with_heads_in_the_batch_dimension() -> None:
    x, relevance = attention_inputs()

    def function(x: Tensor) -> Tensor:
        q, k, v = (part.flatten(0, 1) for part in x.chunk(3, dim=1))
        return F.scaled_dot_product_attention(q, k, v).unflatten(0, (2, 4))

    expected = rules(lambda x: F.scaled_dot_product_attention(*x.chunk(3, dim=1)), x, relevance)
    torch.testing.assert_close(rules(function, x, relevance), expected)


def test_attention_drops_nothing_out() -> None:
    x, relevance = attention_inputs()
    found, expected = (
        rules(lambda x, p=p: F.scaled_dot_product_attention(*x.chunk(3, dim=1), dropout_p=p), x, relevance)
        for p in (0.5, 0.0)
    )
    torch.testing.assert_close(found, expected)


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(MethodError, match="lrp has no rule for torch's 'cumsum'"):
        rules(lambda x: x.cumsum(-1), randn(2, 3), randn(2, 3))

"""AttnLRP's rules, one operation at a time; expected values are relevances R = x ⊙ message."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from relevance_models import propagated
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance import attnlrp_rules


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rules(function, x: Tensor, relevance: Tensor, **settings) -> Tensor:
    """The relevance of x when y has the relevance given."""
    y = function(x)
    return x * propagated(function, x, relevance / y, attnlrp_rules(**settings))


def gamma_rule(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, gamma: float) -> Tensor:
    """Entry by entry: contributions of the sign of the output count (1 + γ) times, the bias among them."""
    result = torch.zeros_like(x)
    for n in range(len(x)):
        for j in range(len(weight)):
            contributions = torch.cat([x[n] * weight[j], bias[j : j + 1]])
            favoured = contributions.sign() == contributions.sum().sign()
            contributions = contributions * torch.where(favoured, 1 + gamma, 1.0)
            result[n] += (contributions / contributions.sum() * relevance[n, j])[:-1]
    return result


@pytest.mark.parametrize("gamma", [0.0, 0.05, 10.0])
def test_linear(gamma: float) -> None:
    x, weight, bias, relevance = randn(3, 6), randn(4, 6, seed=1), randn(4, seed=2), randn(3, 4, seed=3)
    found = rules(lambda x: F.linear(x, weight, bias), x, relevance, linear_gamma=gamma)
    torch.testing.assert_close(found, gamma_rule(x, weight, bias, relevance, gamma), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_convolution(gamma: float) -> None:
    x, weight, bias, relevance = (
        randn(2, 3, 4, 4),
        randn(5, 3, 4, 4, seed=1),
        randn(5, seed=2),
        randn(2, 5, seed=3),
    )
    found = rules(lambda x: F.conv2d(x, weight, bias).flatten(1), x, relevance, conv_gamma=gamma)
    expected = gamma_rule(x.flatten(1), weight.flatten(1), bias, relevance, gamma)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-6)


def test_the_projections_of_an_attention_follow_the_epsilon_rule_and_others_the_gamma_rule() -> None:
    weights = [randn(6, 6, seed=i) for i in range(6)]

    def function(x: Tensor) -> Tensor:
        x = F.linear(x, weights[0])
        q, k, v = (F.linear(x, w).view(2, 5, 2, 3).transpose(1, 2) for w in weights[1:4])
        q = F.layer_norm(q, (3,))
        o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return F.linear(F.linear(o, weights[4]), weights[5])

    x, message = randn(2, 5, 6), randn(2, 5, 6, seed=9)
    found = propagated(function, x, message, attnlrp_rules(linear_gamma=0.3))

    # by hand: γ for the first and the last linear map, nothing but the gradient between them
    def gamma_message(x: Tensor, weight: Tensor, message: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        relevance = (F.linear(x, weight) * message).flatten(0, 1)
        return (gamma_rule(flat, weight, torch.zeros(6), relevance, 0.3) / flat).view_as(x)

    h = F.linear(x, weights[0])

    def inner(h: Tensor) -> Tensor:
        q, k, v = (F.linear(h, w).view(2, 5, 2, 3).transpose(1, 2) for w in weights[1:4])
        o = F.scaled_dot_product_attention(F.layer_norm(q, (3,)), k, v).transpose(1, 2).flatten(2)
        return F.linear(o, weights[4])

    at_inner = gamma_message(inner(h), weights[5], message)
    at_h = propagated(inner, h, at_inner, attnlrp_rules(linear_gamma=0))
    torch.testing.assert_close(found, gamma_message(x, weights[0], at_h), rtol=1e-4, atol=1e-5)


def test_layer_norm_holds_its_deviation_constant() -> None:
    x, weight, bias, relevance = randn(2, 3, 6), randn(6, seed=1), randn(6, seed=2), randn(2, 3, 6, seed=3)
    found = rules(lambda x: F.layer_norm(x, (6,), weight, bias), x, relevance)
    s = (
        relevance
        / F.layer_norm(x, (6,), weight, bias)
        * weight
        / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    )
    torch.testing.assert_close(found, x * (s - s.mean(-1, keepdim=True)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.rms_norm(x, (6,), randn(6)),
        lambda x: F.normalize(x, dim=-1),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt(),
        F.gelu,
        F.silu,
        torch.tanh,
        lambda x: F.silu(x.clone(), inplace=True),
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x * randn(6),
        lambda x: -x / 3,
    ],
)
def test_identity(function) -> None:
    x, relevance = randn(2, 6), randn(2, 6, seed=1)
    torch.testing.assert_close(rules(function, x, relevance), relevance)


def test_softmax_is_its_taylor_expansion() -> None:
    x, relevance = randn(2, 6), randn(2, 6, seed=1)
    expected = x * (relevance - x.softmax(-1) * relevance.sum(-1, keepdim=True))
    torch.testing.assert_close(rules(lambda x: x.softmax(-1), x, relevance), expected)


def test_a_product_gives_halves() -> None:
    x, relevance = randn(2, 6), randn(2, 3, seed=1)
    torch.testing.assert_close(rules(lambda x: x[:, :3] * x[:, 3:], x, relevance), relevance.repeat(1, 2) / 2)


@pytest.mark.parametrize(("explicit", "through_softmax"), [(False, True), (True, True), (False, False)])
def test_attention(explicit: bool, through_softmax: bool) -> None:
    def function(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, dim=1)
        if explicit:
            return ((q @ k.transpose(-2, -1)) / 2).softmax(dim=-1) @ v
        return F.scaled_dot_product_attention(q, k, v, scale=0.5)

    x, relevance = randn(2, 3 * 4, 5, 6), randn(2, 4, 5, 6, seed=1)
    q, k, v = x.chunk(3, dim=1)
    similarity = q @ k.mT
    scores = similarity / 2
    weights = scores.softmax(-1)
    share = relevance / (weights @ v)
    if through_softmax:
        r_a, r_v = weights * (share @ v.mT) / 2, v * (weights.mT @ share) / 2
        r_s = scores * (r_a - weights * r_a.sum(-1, keepdim=True))
        s = r_s / similarity / 2
        expected = torch.cat([q * (s @ k), k * (s.mT @ q), r_v], 1)
    else:
        expected = torch.cat([torch.zeros_like(q), torch.zeros_like(k), v * (weights.mT @ share)], 1)
    torch.testing.assert_close(rules(function, x, relevance, through_softmax=through_softmax), expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.cumsum(-1),
        lambda x: torch.einsum("nchw,dc->ndhw", x, randn(5, 4, seed=7)),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: torch.addcmul(x[:, :2], x[:, 2:], randn(3, seed=7)),
    ],
)
def test_a_linear_function_without_a_rule_of_its_own_passes_a_gradient(function) -> None:
    x = randn(2, 4, 3, 3).requires_grad_()
    y = function(x)
    message = torch.randn_like(y)
    found = propagated(function, x.detach(), message, attnlrp_rules())
    torch.testing.assert_close(found, torch.autograd.grad(y, x, message)[0])


def test_group_norm_holds_its_deviation_constant() -> None:
    x, weight, bias, message = (
        randn(2, 4, 3, 3),
        randn(4, seed=1),
        randn(4, seed=2),
        randn(2, 4, 3, 3, seed=3),
    )
    found = propagated(lambda x: F.group_norm(x, 2, weight, bias), x, message, attnlrp_rules())
    groups = x.view(2, 2, -1)
    deviation = (groups.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    s = (message * weight[:, None, None]).view(2, 2, -1) / deviation
    torch.testing.assert_close(found, (s - s.mean(-1, keepdim=True)).view_as(x))


def test_a_function_without_a_rule_is_named() -> None:
    with pytest.raises(
        MethodError, match="attnlrp has no rule for torch's 'logsumexp', which this model uses; "
    ):
        propagated(lambda x: x.logsumexp(-1, True), randn(2, 4), randn(2, 1), attnlrp_rules())

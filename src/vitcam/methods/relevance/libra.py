"""Rules by which gradients go back, instead of as calculus has them: LibraGrad's and CP-LRP's.

Messages are gradients. Each rule holds some factor of what a function computes constant, so that the rest of it is
linear; then input × gradient, with bias × gradient, is handed on from layer to layer without loss or gain.

LibraGrad (Mehri, Baghshah & Pilehvar, CVPR 2025, arXiv 2411.16760):

- norms: the statistic is held constant;
- activations f(x) = x · g(x), as GELU and SiLU: g is held constant. Of a function with f(0) ≠ 0, f(0) is a bias, and
  f(x) − f(0) = x · g(x);
- attention O = A v: A is held constant, so that nothing goes to queries and keys;
- products of two values (SwiGLU): half of the gradient to each;
- what a sigmoid multiplies, or a norm's divisor divides: the factor is held constant.

It is AttnLRP's rule set with ε rules for linear maps and constant attention, whose messages are such gradients too.

CP-LRP (Ali et al., ICML 2022, arXiv 2202.07304): the first and the third; all else is the ordinary gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance.attention import per_image, softmax_of
from vitcam.methods.relevance.attnlrp import gate, halves, norm
from vitcam.methods.relevance.biases import at_zero
from vitcam.methods.relevance.call import Call, Messages, Operation
from vitcam.methods.relevance.rules import Rule, RuleSet, gradient

_NEAR_ZERO = 1e-5  # where (f(x) − f(0)) / x is rounding, and f′(x) the same


def activation(call: Call, message: Tensor) -> Messages:
    """The gradient of x · g(x) with g held constant."""
    if not message.any():  # a constant factor is made of it
        return (None,)
    x, constant = call.operands[0].detach(), _finite_at_zero("libra", call)
    ratio = (call.output - constant) / x
    near = x.abs() < _NEAR_ZERO
    if near.any():
        (derivative,) = call.gradient(torch.ones_like(call.output))
        assert derivative is not None
        ratio = torch.where(near, derivative, ratio)
    return (message * ratio.to(message),)


def gradient_of_activation(call: Call, message: Tensor) -> Messages:
    """The ordinary gradient, but of a statistic that no rule knew as such: a power below zero, say."""
    if not message.any():
        return (None,)
    _finite_at_zero("cp-lrp", call)
    return call.gradient(message)


def _finite_at_zero(rules: str, call: Call) -> float:
    constant = at_zero(call)
    if not abs(constant) < float("inf"):
        raise MethodError(
            f"rules={rules!r} has no rule for torch's {call.name!r} of what comes from the image, which this model "
            "uses: it isn't finite at 0. rules='plain' needs none"
        )
    return constant


def constant_attention(call: Call, message: Tensor) -> Messages:
    """Aᵀ · message to the values, and nothing to what A is made of."""
    query, key, value, mask = call.operands
    scale, causal, result = call.options["scale"], call.options["causal"], torch.empty_like(value)
    for q, k, _, m, g, r in per_image(query, key, value, mask, message, result):
        r.copy_(softmax_of(q @ k.mT * scale, m, causal).mT @ g)
    return (None, None, result, None)


def whole_attention(call: Call, message: Tensor) -> Messages:
    """The ordinary gradient."""
    if call.carries[3]:
        raise MethodError(
            "the biases' share of an ordinary gradient can't be had of a model that computes attention step by step; "
            "rules='libra' and rules='cp-lrp' can do with it"
        )
    return call.gradient(message)


def _constant_weights(otherwise: Rule) -> Rule:
    """The gradient with attention weights, where one factor is such, held constant."""

    def rule(call: Call, message: Tensor) -> Messages:
        weights = ["softmax" in names for names in call.sources]
        if any(weights) and not all(weights):
            parts = call.gradient(message)
            return tuple(None if held else part for part, held in zip(parts, weights, strict=True))
        return otherwise(call, message)

    return rule


def nothing_through_softmax(rules: str) -> Rule:
    """Attention weights are constants, so that nothing comes back to them; else it is another softmax."""

    def rule(call: Call, message: Tensor) -> Messages:
        if message.any():
            raise MethodError(
                f"rules={rules!r} has no rule for a softmax that isn't attention's, such as one behind the logits, "
                "or whose weights are changed before they weigh values; rules='plain' needs none"
            )
        return (None,)

    return rule


def gradient_but_for_statistics(call: Call, message: Tensor) -> Messages:
    """The gradient; of a value times or divided by a norm's statistic, with that held constant."""
    if call.name.strip("_") in ("div", "divide", "true_divide") or "rsqrt" in call.sources[1]:
        return gate(call, message)
    return call.gradient(message)


_ORDINARY: dict[Operation, Rule] = {
    "linear": gradient,
    "projection": gradient,
    "convolution": gradient,
    "norm": gradient,
    "activation": gradient,
    "softmax": gradient,
    "attention": whole_attention,
    "matmul": gradient,
    "add": gradient,
    "multiply": gradient,
    "gate": gradient,
    "scale": gradient,
    "pool": gradient,
    "mixture": gradient,
}

PLAIN = RuleSet("rules='plain'", _ORDINARY, with_biases=True)
"""No rules: the ordinary gradient, of which the biases' share is kept."""

CP_LRP = RuleSet(
    "rules='cp-lrp'",
    {
        **_ORDINARY,
        "norm": norm,
        "activation": gradient_of_activation,
        "softmax": nothing_through_softmax("cp-lrp"),
        "attention": constant_attention,
        "matmul": _constant_weights(gradient),
        "multiply": _constant_weights(gradient),
        "gate": gradient_but_for_statistics,
    },
    with_biases=True,
)

LIBRA = RuleSet(
    "rules='libra'",
    {
        **_ORDINARY,
        "norm": norm,
        "activation": activation,
        "softmax": nothing_through_softmax("libra"),
        "attention": constant_attention,
        "matmul": _constant_weights(halves),
        "multiply": _constant_weights(halves),
        "gate": gate,
    },
    with_biases=True,
    complete=True,
)

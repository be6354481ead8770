"""AttnLRP's rules (arXiv 2402.05602): messages are relevance per unit of value, c = R / x.

Carried so, the ε rule of a linear map and the Taylor rule of the softmax, R_S = S⊙(R_A − A ΣR_A), are the
ordinary gradient, and so is what any function does that merely moves or adds values; the relevance of a tensor
is its value times the message. What remains:

- norms: the gradient with the statistic held constant (Proposition 3.4);
- activations: the identity rule, R_x = R_y, hence c_x = c_y · y/x (Equation 9);
- products of two carrying tensors: half of the gradient to each (Propositions 3.2, 3.3), in attention
  (O = A v, S = q kᵀ) therefore a half to v and a quarter each to q and k;
- linear maps outside attention and convolutions, in ViTs: the γ rule (Equation 24; Table 4: γ = 0.25 for the
  convolution, 0.05 for linear maps, ε for the maps that make q, k, v and take the output of attention).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vitcam.methods.relevance.call import Call, Messages
from vitcam.methods.relevance.rules import Rule, RuleSet, bias_of, gradient

EPSILON = 1e-6


def stabilized(z: Tensor, epsilon: float = EPSILON) -> Tensor:
    """z, moved away from 0 by ε to the side where it is."""
    return z + torch.where(z < 0, -epsilon, epsilon)


def gamma_linear(call: Call, message: Tensor, gamma: float) -> Messages:
    """The γ rule for values of either sign, of a linear map z = Wx + b.

    With P = x⁺W⁺ᵀ + x⁻W⁻ᵀ the positive part of Wx and M its negative part: where z > 0, z is shared in
    proportion to Wx + γP, where z < 0 in proportion to Wx + γM; the bias takes part, with weight 1 + γ where
    its sign is z's. As P and M are (Wx ± |W||x|)/2, two products back and one more forward are enough.
    """
    x, weight, _ = call.operands
    assert call.transpose is not None
    x, weight, z = x.detach(), weight.to(x), call.output
    absolute_weight = weight.abs()
    sign = z.sign()
    half = gamma / 2
    absolute = call.function(x.abs(), absolute_weight, None) + bias_of(call).abs()
    share = (message.to(x) * z / stabilized((1 + half) * z + half * sign * absolute)).to(x)
    result = call.transpose(share, weight).mul_(1 + half)
    result += call.transpose(share * sign, absolute_weight).mul_(half).mul_(x.sign())
    return (result, None, None)


def linear(gamma: float) -> Rule:
    """The γ rule; for γ = 0 the ε rule, which is the gradient."""
    return partial(gamma_linear, gamma=gamma) if gamma else gradient


def norm(call: Call, message: Tensor) -> Messages:
    """The gradient with the norm's statistic held constant."""
    assert call.frozen is not None
    (x,) = call.operands
    with torch.enable_grad():
        (result,) = torch.autograd.grad(call.frozen(x), x, message)
    return (result,)


def activation(call: Call, message: Tensor) -> Messages:
    """The identity rule."""
    x = call.operands[0].detach()
    return (message * (call.output / stabilized(x, 1e-10)).to(message),)


def halves(call: Call, message: Tensor) -> Messages:
    """The uniform rule: each of two factors gets half."""
    return tuple(None if x is None else x / 2 for x in call.gradient(message))


def gate(call: Call, message: Tensor) -> Messages:
    """The gradient with the factor, or the divisor, held constant."""
    return (call.gradient(message)[0], None)


def attention(call: Call, message: Tensor) -> Messages:
    """A half to v, a quarter to q and to k, of the gradient."""
    parts = call.gradient(message)
    return tuple(None if x is None else x / n for x, n in zip(parts, (4, 4, 2, 4), strict=True))


def attention_values(call: Call, message: Tensor) -> Messages:
    """CP-LRP: the attention weights are constants, all goes to v."""
    return (None, None, call.gradient(message)[2], None)


def attnlrp_rules(
    conv_gamma: float = 0.25, linear_gamma: float = 0.05, through_softmax: bool = True
) -> RuleSet:
    """AttnLRP's rule set.

    Args:
        conv_gamma: γ of convolutions; 0 is the ε rule.
        linear_gamma: γ of linear maps other than an attention's projections; 0 is the ε rule.
        through_softmax: False is CP-LRP, which is what ``lxt`` does for torchvision's ViT: relevance passes
            an attention by way of its values only.
    """
    return RuleSet(
        name="attnlrp",
        rules={
            "linear": linear(linear_gamma),
            "projection": gradient,
            "convolution": linear(conv_gamma),
            "norm": norm,
            "activation": activation,
            "softmax": gradient,
            "attention": attention if through_softmax else attention_values,
            "matmul": halves,
            "add": gradient,
            "multiply": halves,
            "gate": gate,
            "scale": gradient,
            "pool": gradient,
            "mixture": gradient,
        },
    )

"""Chefer's relevance rules (arXiv 2012.09838): messages are relevances.

Start with R = 1 at the target's logit. With safe_divide(a, b) = a / b where b ≠ 0, and 0 elsewhere:

- linear, convolution: R_x = x⁺⊙(sW⁺) + x⁻⊙(sW⁻), with s = safe_divide(R, x⁺W⁺ᵀ + x⁻W⁻ᵀ); no bias;
- norms, activations, softmax, scaling (layer scale, dropout, a constant added): unchanged;
- add z = a + b: R_a = a⊙safe_divide(R, z), R_b alike, then both rescaled so that their sums over the image's
  whole tensor are in the ratio |ΣR_a| : |ΣR_b| and together ΣR;
- O = A v: R_A = A⊙(s vᵀ)/2, R_v = v⊙(Aᵀs)/2, with s = safe_divide(R, O); S = q kᵀ: the same on R_A.

Not in the paper, but needed by models that it didn't know: a mean or sum shares R among its summands in
proportion; a product of two carrying tensors (gated MLPs) gives each one half; a gate (a sigmoid that
multiplies, as in quick-GELU) and a divisor get nothing and leave all to the value.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance.attention import per_image, softmax_of
from vitcam.methods.relevance.call import Call, Messages
from vitcam.methods.relevance.precise import in_precision_of
from vitcam.methods.relevance.rules import RuleSet, bias_of, unchanged

_RESOLVED = 1e-6
"""Share of Σ|x||W| below which Σ x⁺W⁺ + x⁻W⁻ is rounding noise in float32: taken as 0."""


def safe_divide(a: Float[Tensor, "*dims"], b: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
    """Divides; where the denominator is 0, the result is 0.

    The denominator is b + 1e-9, as max(b, 1e-9) + min(b, 1e-9) is in the authors' code.
    """
    shifted = b + 1e-9
    return (a / shifted).masked_fill_((b == 0) | (shifted == 0), 0)


def positive_linear(call: Call, relevance: Tensor) -> Messages:
    """The αβ rule with α = 1, β = 0 for a linear map, without forming W⁺ and W⁻.

    As x = x⁺ + x⁻ and |x| = x⁺ − x⁻ (and W alike), x⁺W⁺ᵀ + x⁻W⁻ᵀ = (xWᵀ + |x||W|ᵀ)/2, and
    x⁺⊙(sW⁺) + x⁻⊙(sW⁻) = (x⊙(sW) + |x|⊙(s|W|))/2. The first half of each is one product, and the map's
    own output (less the bias) saves one more.
    """
    x, weight, _ = call.operands
    assert call.transpose is not None
    unbiased = call.output - bias_of(call)
    x, unbiased, relevance, weight = in_precision_of(weight, x.detach(), unbiased, relevance, weight)
    absolute_x, absolute_weight = x.abs(), weight.abs()
    absolute = call.function(absolute_x, absolute_weight, None)
    doubled = absolute + unbiased
    share = torch.where(doubled > _RESOLVED * absolute, relevance / doubled, 0)
    result = call.transpose(share, weight).mul_(x)
    result.addcmul_(call.transpose(share, absolute_weight), absolute_x)
    return (result, None, None)


def add(call: Call, relevance: Tensor) -> Messages:
    """Shares by value, then rescales the two shares by their sums over each image."""
    a, b = (x.detach() for x in call.operands)
    share = safe_divide(relevance, call.output)
    shares = a * share, b * share
    axes = _axes_of_one_image(call, relevance)
    total = relevance.sum(axes, keepdim=True)
    sums = [x.sum(axes, keepdim=True) for x in shares]
    weights = [x.abs() for x in sums]
    whole = weights[0] + weights[1]
    return tuple(
        (x * safe_divide(safe_divide(weight, whole) * total, part)).sum_to_size(operand.shape)
        for x, weight, part, operand in zip(shares, weights, sums, (a, b), strict=True)
    )


def _axes_of_one_image(call: Call, relevance: Tensor) -> list[int]:
    """All axes but the batch's: the first as long as the batch (sequence-first models have it second)."""
    if call.images not in relevance.shape:
        raise MethodError(
            f"lrp needs the sum of relevance over each image, but {call.name} adds tensors of shape "
            f"{tuple(relevance.shape)}, which has no axis of {call.images} images; explain one image at a "
            "time, or choose a method without relevance propagation (agcam, rollout, gae)"
        )
    batch = relevance.shape.index(call.images)
    return [axis for axis in range(relevance.ndim) if axis != batch]


def proportional(call: Call, relevance: Tensor) -> Messages:
    """Each summand's share of the sum: R_x = x ⊙ ∂/∂x (…) at safe_divide(R, z)."""
    found = call.gradient(safe_divide(relevance, call.output))
    return tuple(
        None if share is None else share * x.detach() for share, x in zip(found, call.operands, strict=True)
    )


def halves(call: Call, relevance: Tensor) -> Messages:
    """A product of two carrying operands: each gets half, shared by value."""
    return tuple(None if share is None else share / 2 for share in proportional(call, relevance))


def attention(call: Call, relevance: Tensor) -> Messages:
    """O = A v and S = q kᵀ (before scale and mask), each with halves; one image's N×N maps at a time."""
    query, key, value, mask = call.operands
    scale, causal = call.options["scale"], call.options["causal"]
    share = safe_divide(relevance, call.output)
    results = tuple(torch.empty_like(x) for x in (query, key, value))
    for q, k, v, m, s, r_q, r_k, r_v in per_image(query, key, value, mask, share, *results):
        products = q @ k.mT
        weights = softmax_of(products * scale, m, causal)
        r_v.copy_((weights.mT @ s).mul_(v).div_(2))
        at_products = safe_divide((s @ v.mT).mul_(weights), products)
        r_q.copy_((at_products @ k).mul_(q).div_(4))
        r_k.copy_((at_products.mT @ q).mul_(k).div_(4))
    return (*results, None)


CHEFER = RuleSet(
    name="lrp",
    rules={
        "linear": positive_linear,
        "projection": positive_linear,
        "convolution": positive_linear,
        "norm": unchanged,
        "activation": unchanged,
        "softmax": unchanged,
        "attention": attention,
        "matmul": halves,
        "add": add,
        "multiply": halves,
        "gate": unchanged,
        "scale": unchanged,
        "pool": proportional,
    },
)

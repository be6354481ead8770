"""What the biases of a model contribute where its backward pass carries gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from vitcam.methods.relevance.call import Call
from vitcam.methods.relevance.precise import at_least


def share_of_bias(call: Call, message: Tensor, *, of_activations: bool) -> Tensor | None:
    """Σ_c b_c · message_c at one call: what its bias contributes, summed over channels. None if it has none.

    A bias is what a function adds that doesn't come from the images: that of a linear map, a convolution or a norm, a
    constant that is added, and tokens that are joined on.

    Args:
        call: the call.
        message: at its output.
        of_activations: whether f(0) is the bias of a function f of single elements.

    Returns:
        Of the output's shape, less its channels.
    """
    if call.operation in ("linear", "projection"):
        bias = call.operands[2]
        return None if bias is None else message @ bias.to(message)
    if call.operation == "convolution":
        bias = call.operands[2]
        return None if bias is None else torch.einsum("bc...,c->b...", message, bias.to(message))
    if call.operation == "norm":
        return None if call.shift is None else _of_norm(call.name, call.shift, message)
    if call.operation == "activation" and of_activations:
        constant = at_zero(call)
        return (message * constant).sum(dim=-1) if constant != 0 and message.any() else None
    if not call.affine:
        return None
    zeros = (
        torch.zeros_like(x) if carries else x for x, carries in zip(call.operands, call.carries, strict=True)
    )
    with torch.no_grad(), at_least(message.dtype):
        return (message * call.function(*zeros)).sum(dim=-1)


def at_zero(call: Call) -> float:
    """f(0) of a function of single elements."""
    with torch.no_grad():
        return float(call.function(torch.zeros_like(call.operands[0][:1])).flatten()[0])


def _of_norm(name: str, shift: Tensor, message: Tensor) -> Tensor:
    product = message * shift.to(message)
    if name == "layer_norm":
        return product.flatten(-shift.ndim).sum(dim=-1)
    return product.sum(dim=1)  # of group and batch norm, channels stand second

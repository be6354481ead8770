"""What a set of relevance rules is, and the rules that several sets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitcam.methods.relevance.call import Call, Messages, Operation

Rule = Callable[[Call, Tensor], Messages]
"""From a call and the message at its output to the messages at its operands."""


@dataclass(frozen=True)
class RuleSet:
    """Which rule holds for which operation: a declaration.

    Operations that only move values (reshape, select, concatenate, expand, …) need no rule: messages move
    along with the values, and where a tensor is used twice, they add. A function that is none of these, or for whose
    operation there is no rule, is a MethodError during the forward pass.

    Attributes:
        name: for messages.
        rules: one rule per operation.
        with_biases: whether messages are gradients, so that biases and other constants have a share of the score.
        complete: whether the products of messages with values and of messages with biases add up to the score.
    """

    name: str
    rules: Mapping[Operation, Rule]
    with_biases: bool = False
    complete: bool = False


def unchanged(call: Call, message: Tensor) -> Messages:
    """All of the message goes to the first operand that carries, as it is."""
    first = call.carries.index(True)
    message = message.sum_to_size(call.operands[first].shape)
    return tuple(message if i == first else None for i in range(len(call.operands)))


def bias_of(call: Call) -> Tensor:
    """The bias of a linear map or a convolution, shaped to be added to its output; 0 if it has none."""
    bias: Tensor | None = call.operands[2]
    if bias is None:
        return torch.zeros(())
    return bias[:, None, None] if call.operation == "convolution" else bias


def gradient(call: Call, message: Tensor) -> Messages:
    """The message passes as an ordinary gradient."""
    return call.gradient(message)

"""Linear layers of a pass that was run before: their values are known, only their gradient is missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode


class RecordedLinears(TorchFunctionMode):
    """Inside the ``with``: keeps the output of every linear layer, in the order of the calls.

    Args:
        keep: from an output to what of it is to be kept; None for one that isn't wanted.

    Example:
        >>> with RecordedLinears(lambda output: output[:, :1]) as recorded:
        ...     model(images)
        >>> with AnsweredLinears(recorded, lambda output: output):
        ...     model(images)  # on the class token alone
    """

    def __init__(self, keep: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.keep = keep
        self.outputs: dict[Tensor, deque[Tensor | None]] = {}  # by identity, as tensors are hashed

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is F.linear:
            _, weight = _input_and_weight(*args, **(kwargs or {}))
            self.outputs.setdefault(weight, deque()).append(self.keep(output))
        return output


class AnsweredLinears(TorchFunctionMode):
    """Inside the ``with``: linear layers answer what was recorded of them, and have their usual gradient.

    The weights are read once, for the gradient, instead of twice. A layer that was not recorded, or has another
    shape, is computed.

    Args:
        recorded: of the same model; it is used up.
        change: from what was kept of an output to the answer.
    """

    def __init__(self, recorded: RecordedLinears, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.outputs = recorded.outputs
        self.change = change

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        computed = partial(function, *args, **(kwargs or {}))
        if function is not F.linear:
            return computed()
        value, weight = _input_and_weight(*args, **(kwargs or {}))
        output = self.outputs[weight].popleft() if self.outputs.get(weight) else None
        answer = None if output is None else self.change(output)
        if answer is None or answer.shape[:-1] != value.shape[:-1]:
            return computed()
        return _Answered.apply(value, weight, answer)


def _input_and_weight(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return input, weight


class _Answered(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, output: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return gradient @ weight, None, None

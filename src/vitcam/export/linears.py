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

Change = Callable[[Tensor], Tensor | None]


class RecordedLinears(TorchFunctionMode):
    """Inside the ``with``: keeps the output of every linear layer, in the order of the calls.

    Args:
        keep: from an output to what of it is to be kept; None for one that isn't wanted.

    Example:
        >>> with RecordedLinears(lambda output: output[:, :1]) as recorded:
        ...     model(images)
        >>> with AnsweredLinears(recorded):
        ...     model(images)  # on the class token alone
    """

    def __init__(self, keep: Change) -> None:
        super().__init__()
        self.keep = keep
        self.outputs: dict[int, deque[Tensor | None]] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is F.linear:
            self.outputs.setdefault(id(_weight(*args, **(kwargs or {}))), deque()).append(self.keep(output))
        return output


class AnsweredLinears(TorchFunctionMode):
    """Inside the ``with``: linear layers answer what was recorded of them, and have their usual gradient.

    The weights are read once, for the gradient, instead of twice. A layer that was not recorded, or has another
    shape, is computed.

    Args:
        recorded: of the same model; it is used up.
    """

    def __init__(self, recorded: RecordedLinears) -> None:
        super().__init__()
        self.outputs = recorded.outputs

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        computed = partial(function, *args, **(kwargs or {}))
        if function is not F.linear:
            return computed()
        weight = _weight(*args, **(kwargs or {}))
        output = self.outputs[id(weight)].popleft() if self.outputs.get(id(weight)) else None
        if output is None or output.shape[:-1] != args[0].shape[:-1]:
            return computed()
        return _Answered.apply(args[0], weight, output)


def _weight(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return weight


class _Answered(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, output: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return gradient @ weight, None, None

"""Runs a model in a higher precision than its own, without touching it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def at_least(dtype: torch.dtype) -> AbstractContextManager[object]:
    """Lets the current thread compute in ``dtype`` inside a ``with`` wherever it would in fewer digits.

    Every floating-point tensor that a torch function is given, a weight as well as a constant, is converted on its
    way in, and a conversion to fewer digits (``x.float()``, ``softmax(dtype=…)``, what a factory makes) goes to
    ``dtype`` instead. Parameters, buffers and modules stay as they are, for other threads too; a converted weight
    lives as long as the call or the graph that uses it.

    Args:
        dtype: ``torch.float64`` or ``torch.float32``.

    Example:
        >>> layer = torch.nn.Linear(2, 2)
        >>> with at_least(torch.float64):
        ...     layer(torch.ones(1, 2)).dtype, layer.weight.dtype
        (torch.float64, torch.float32)
    """
    return _AtLeast(dtype)


def in_precision_of(weight: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Tensors in the precision of a weight, but no less than float32."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


class _AtLeast(TorchFunctionMode):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        keywords = dict(kwargs or {})
        if name in _ATTRIBUTES:
            return function(*args, **keywords)
        if name in _CONVERSIONS:
            return args[0].to(torch.promote_types(args[0].dtype, self._dtype))
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        first = args[:1] if in_place else self._raised(args[:1])
        raised = (*first, *self._raised(args[1:])), self._raised(keywords)
        return self._raised(function(*raised[0], **raised[1]))

    def _raised(self, value: Any) -> Any:
        """A tensor, a dtype, or what is in a list or a mapping, in the precision of this context if below it."""
        if isinstance(value, Tensor):
            return value.to(self._dtype) if self._below(value.dtype) else value
        if isinstance(value, torch.dtype):
            return self._dtype if self._below(value) else value
        if type(value) in (tuple, list):
            return type(value)(map(self._raised, value))
        if type(value) is dict:
            return {key: self._raised(item) for key, item in value.items()}
        return value

    def _below(self, dtype: torch.dtype) -> bool:
        return dtype.is_floating_point and dtype.itemsize < self._dtype.itemsize


_ATTRIBUTES = frozenset({"__get__", "__set__"})
_CONVERSIONS = frozenset({"half", "bfloat16", "float"})
"""Methods that name a precision. None of them goes below the one wanted."""

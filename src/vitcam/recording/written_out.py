"""Recognises attention that a model writes out itself: a softmax over the last axis, times values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_SOFTMAX = frozenset({torch.softmax, F.softmax, Tensor.softmax})
_PRODUCT = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm})
_EINSUM = torch.functional.einsum
# What leaves the weights as they are, row by row. Dropout counts, since explaining is deterministic.
_SAME = frozenset(
    {
        F.dropout,
        torch.dropout,
        Tensor.bfloat16,
        Tensor.clone,
        Tensor.contiguous,
        Tensor.flatten,
        Tensor.float,
        Tensor.half,
        Tensor.reshape,
        Tensor.to,
        Tensor.type_as,
        Tensor.unflatten,
        Tensor.view,
        torch.flatten,
        torch.reshape,
    }
)

ScoresAndValue = tuple[Float[Tensor, "*batch queries keys"], Float[Tensor, "*batch keys dim"]]


class WrittenOut:
    """Follows the functions that a model calls, and says which product is an attention's output.

    Only what lies between a softmax and its product with the values is looked at. Weights that are changed in
    between (the talking heads of CaiT, a gate) aren't recognised, because O = softmax(S) v doesn't hold then.
    """

    def __init__(self) -> None:
        self._scores: Tensor | None = None
        self._weights: Tensor | None = None
        self._version = 0

    def attention(
        self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> ScoresAndValue | None:
        """S and v, if this call computes softmax(S) v; else None."""
        if self._weights is None or keywords:
            return None
        if function is _EINSUM:
            operands = args[1] if len(args) == 2 else args[1:]  # may be a list
            if len(operands) != 2 or not _is_plain_product(args[0]):
                return None
            args = operands
        elif function not in _PRODUCT:
            return None
        weights, value = args
        if not self._is_weights(weights) or not 3 <= value.dim() <= weights.dim():
            return None
        scores = self._scores
        assert scores is not None
        self._scores = self._weights = None
        return scores.reshape(weights.shape), value.expand(*weights.shape[:-2], -1, -1)

    def see(self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        """Remembers a softmax."""
        if function in _SOFTMAX and result.dim() > 2:
            dim = args[1] if len(args) > 1 else keywords.get("dim")
            if dim in (-1, result.dim() - 1):
                self._scores = args[0] if args else keywords["input"]
                self._remember(result)
        elif function in _SAME and args and self._is_weights(args[0]) and _same_rows(args[0], result):
            self._remember(result)

    def _remember(self, weights: Tensor) -> None:
        self._weights, self._version = weights, weights._version

    def _is_weights(self, tensor: Any) -> bool:
        """Whether these are the weights, not written over since."""
        return isinstance(tensor, Tensor) and tensor is self._weights and tensor._version == self._version


def _same_rows(one: Tensor, other: Tensor) -> bool:
    return one.shape[-2:] == other.shape[-2:]


def _is_plain_product(equation: Any) -> bool:
    """Whether an einsum is a batched matrix product, as in ``b h i j, b h j d -> b h i d``."""
    if not isinstance(equation, str) or equation.count(",") != 1 or "->" not in equation:
        return False
    inputs, output = equation.replace(" ", "").replace("...", "").split("->")
    weights, value = inputs.split(",")
    batch, queries, keys, dim = weights[:-2], weights[-2:-1], weights[-1:], value[-1:]
    return value == batch + keys + dim and output == batch + queries + dim

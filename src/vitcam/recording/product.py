"""Recognises a product of tensors as attention weights times values, in whatever order its axes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_PRODUCTS = frozenset(
    {torch.matmul, torch.linalg.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm}
)
_REVERSED = Tensor.__rmatmul__
_EINSUM = torch.functional.einsum
_NAMES = (("input", "self"), ("other", "mat2", "tensor2"))

# One label per axis, as in an einsum: equal labels are the same axis.
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """A product of two tensors, its axes labelled.

    Attributes:
        operands: the two tensors.
        labels: one per axis of each of them.
        output: one per axis of the result.
    """

    operands: tuple[Tensor, Tensor]
    labels: tuple[Labels, Labels]
    output: Labels


@dataclass(frozen=True)
class EagerAttention:
    """An attention that a model computes step by step ("eager"), softmax and product apart.

    Attributes:
        scores: S, before the softmax.
        value: v, expanded to the scores' leading dimensions.
        order: of the axes (…, queries, dim) of S's softmax times v, that in which the model has them.
        given: v as the model has it.
    """

    scores: Float[Tensor, "*batch queries keys"]
    value: Float[Tensor, "*batch keys dim"]
    order: tuple[int, ...]
    given: Float[Tensor, "*axes"]

    def laid_out(self, output: Float[Tensor, "*batch queries dim"]) -> Float[Tensor, "*axes"]:
        """The output O as the model's own product would have laid it out."""
        return output if self.order == tuple(range(output.dim())) else output.permute(self.order)


def is_product(function: Any) -> bool:
    """Whether a function multiplies tensors, whatever it is given."""
    return function is _EINSUM or function is _REVERSED or function in _PRODUCTS


def as_product(function: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> Product | None:
    """The product that a call computes; None if it is no product of two tensors.

    Example:
        >>> weights, value = torch.rand(2, 3, 9, 9), torch.rand(2, 3, 9, 4)
        >>> as_product(torch.matmul, (weights, value), {}).output
        ('-4', '-3', 'row', 'column')
    """
    if function is _EINSUM:
        return _of_equation(*_einsum_operands(args)) if args and not keywords else None
    if function is not _REVERSED and function not in _PRODUCTS:
        return None
    pair = _pair(args, keywords)
    if pair is None:
        return None
    left, right = pair[::-1] if function is _REVERSED else pair
    if left.dim() < 2 or right.dim() < 2:
        return None
    return Product(
        (left, right),
        ((*_leading(left.dim() - 2), "row", "inner"), (*_leading(right.dim() - 2), "inner", "column")),
        (*_leading(max(left.dim(), right.dim()) - 2), "row", "column"),
    )


def as_attention(
    product: Product, which: int, scores: Float[Tensor, "*axes"], axis: int
) -> EagerAttention | None:
    """The attention that a product is whose operand ``which`` is the softmax of ``scores`` over ``axis``.

    None if the product isn't softmax times values: if it sums over another axis than the keys, or over more.
    """
    of_weights, of_value, value = (
        product.labels[which],
        product.labels[1 - which],
        product.operands[1 - which],
    )
    if any(len(set(labels)) < len(labels) for labels in (of_weights, of_value, product.output)):
        return None
    key = of_weights[axis]
    dims = [label for label in of_value if label not in of_weights]
    if key not in of_value or key in product.output or len(dims) != 1:
        return None
    if set(product.output) != {*of_weights, *dims} - {key}:
        return None
    query = _query(of_weights, of_value, axis)
    if query is None:
        return None
    batch = [label for label in of_weights if label not in (query, key)]
    scores = scores.permute([of_weights.index(label) for label in (*batch, query, key)])
    missing = [label for label in batch if label not in of_value]
    given = value
    value = value[(None,) * len(missing)]
    value = value.permute([(*missing, *of_value).index(label) for label in (*batch, key, *dims)])
    shape = torch.broadcast_shapes(scores.shape[:-2], value.shape[:-2])
    order = tuple((*batch, query, *dims).index(label) for label in product.output)
    return EagerAttention(scores.expand(*shape, -1, -1), value.expand(*shape, -1, -1), order, given)


def _query(of_weights: Labels, of_value: Labels, axis: int) -> str | None:
    """The axis of the queries: the values haven't got it. Of several, it is the one next to the keys at the end."""
    candidates = [label for label in of_weights if label not in of_value]
    if len(candidates) == 1:
        return candidates[0]
    last = len(of_weights) - 1
    beside = {last: last - 1, last - 1: last}.get(axis % len(of_weights))
    return of_weights[beside] if beside is not None and of_weights[beside] in candidates else None


def _pair(args: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
    """The two tensors of a call of ``matmul``, by place or by name."""
    given = [*args, *(keywords[name] for names in _NAMES[len(args) :] for name in names if name in keywords)]
    if len(given) != 2 or len(args) + len(keywords) != 2 or not all(isinstance(x, Tensor) for x in given):
        return None
    return given[0], given[1]


def _leading(count: int) -> Labels:
    """Labels of leading axes, counted from the end, as they are broadcast."""
    return tuple(str(place - 2) for place in range(-count, 0))


def _einsum_operands(args: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    equation, *operands = args
    return equation, operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands


def _of_equation(equation: Any, operands: Sequence[Any]) -> Product | None:
    """``b h i j, b h j d -> b i h d`` with its two operands."""
    if not isinstance(equation, str) or "->" not in equation or len(operands) != 2:
        return None
    if not all(isinstance(operand, Tensor) for operand in operands):
        return None
    left, right = operands
    inputs, result = equation.replace(" ", "").split("->")
    terms = inputs.split(",")
    if len(terms) != 2:
        return None
    of_left, of_right = (
        _labels(term, x.dim() - len(term.replace("...", ""))) for term, x in zip(terms, operands, strict=True)
    )
    hidden = max(len([label for label in labels if label[0] == "-"]) for labels in (of_left, of_right))
    return Product((left, right), (of_left, of_right), _labels(result, hidden))


def _labels(term: str, hidden: int) -> Labels:
    """One label per axis; those behind an ellipsis are counted from the end, as they are broadcast."""
    if "..." not in term:
        return tuple(term)
    before, after = term.split("...")
    return (*before, *_leading(hidden), *after)

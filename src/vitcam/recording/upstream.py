"""Follows what the tensors of an image become: which attention calls they go through, and which aren't recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vitcam.recording.product import Product, as_product, is_product

IMAGE = -1  # the number that stands for the image among those of the calls
_WITH_BIAS = frozenset({torch.baddbmm, Tensor.baddbmm})  # scores with a bias: bias + q kᵀ


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among some values, and in lists and mappings among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())


class Upstream:
    """The attention calls that tensors come from, as functions hand them on, from their arguments to results.

    So the layers of one stream of tokens, each of which reads what the one before it gave, are told from calls that
    stand side by side: a second tower, a second attention in a layer. It sees what torch's function modes see. What
    goes through anything else (a custom ``autograd.Function``) comes out as if it came from nowhere.

    Example:
        >>> upstream = Upstream()
        >>> answer = torch.ones(2)
        >>> upstream.mark(answer, {0})
        >>> upstream.see(torch.add, (answer, 1), {}, total := answer + 1)
        >>> upstream.of(total)
        frozenset({0})
    """

    def __init__(self) -> None:
        self._calls: Any = WeakTensorKeyDictionary()

    def of(self, *values: Any) -> frozenset[int]:
        """The calls that some tensors, or tensors in lists, come from."""
        calls: frozenset[int] = frozenset()
        for tensor in tensors_in(values):
            calls |= self._calls.get(tensor, frozenset())
            base = _base(tensor)
            if base is not None:  # a view that was made where nothing is seen
                calls |= self._calls.get(base, frozenset())
        return calls

    def mark(self, tensor: Tensor, calls: frozenset[int] | set[int]) -> None:
        """Says that a tensor comes from these calls, besides those already known."""
        self._calls[tensor] = self._calls.get(tensor, frozenset()) | calls

    def see(self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        """Takes notice of a function that was called."""
        calls = self.of(args, tuple(keywords.values()))
        if not calls:
            return
        name = getattr(function, "__name__", "")
        if (name.endswith("_") and not name.endswith("__")) or name in (
            "__setitem__",
            "__iadd__",
            "__imul__",
        ):
            self._written(args[0] if args else next(iter(keywords.values())), calls)
        if "out" in keywords:
            self._written(keywords["out"], calls)
        for tensor in tensors_in((result,)):
            self.mark(tensor, calls)

    def _written(self, value: Any, calls: frozenset[int]) -> None:
        for tensor in tensors_in((value,)):
            self.mark(tensor, calls)
            base = _base(tensor)
            if base is not None:
                self.mark(base, calls)


def _base(tensor: Tensor) -> Tensor | None:
    """What a tensor is a view of; asked without any function mode taking notice."""
    with torch._C.DisableTorchFunction():
        return tensor._base


class Unseen:
    """Looks for attention that mixes tokens and isn't answered: talking heads, a difference of two maps, a gate.

    It is a product of two tensors of the image (q kᵀ), of which something is made (no softmax that is known, or more
    than that), and which is multiplied with a third (v). Of attention that was recognised and answered nothing comes
    here.

    Args:
        upstream: which tensors come from the image.
        place: says where the pass is: how many calls were answered, and the module that is being called.

    Attributes:
        calls: for each, how many calls were answered before it, and the module that makes it.
    """

    def __init__(self, upstream: Upstream, place: Callable[[], tuple[int, str]]) -> None:
        self._upstream, self._place = upstream, place
        self._scores: Any = WeakTensorKeyDictionary()
        self.calls: list[tuple[int, str]] = []

    def see(self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        """Takes notice of a function that was called; so do those that follow what tensors come from."""
        self._upstream.see(function, args, keywords, result)
        with_bias = function in _WITH_BIAS
        if not with_bias and not is_product(function):
            if any(tensor in self._scores for tensor in tensors_in((args, keywords))):
                for made in tensors_in((result,)):
                    self._scores[made] = True
            return
        given = (torch.bmm, args[1:], {}) if with_bias else (function, args, keywords)
        product = as_product(*given)
        if product is None or not isinstance(result, Tensor) or not _contracts_one(product):
            return  # answered, among others
        if not all(IMAGE in self._upstream.of(operand) for operand in product.operands):
            return
        # Maps multiplied with maps, as for a rollout, mix no tokens.
        if sum(operand in self._scores for operand in product.operands) == 1:
            self.calls.append(self._place())
        else:
            self._scores[result] = True


def _contracts_one(product: Product) -> bool:
    """Whether a product sums over one axis, and both of its tensors have another that is left."""
    one, other = (set(labels) for labels in product.labels)
    left = set(product.output)
    return len((one & other) - left) == 1 and bool((one - other) & left) and bool((other - one) & left)

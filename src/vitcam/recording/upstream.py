"""Follows which attention calls each tensor was computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vitcam.recording.lineage import tensors_in

IMAGE = -1  # the number that stands for the image among those of the calls


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
        found: frozenset[int] = frozenset()
        for tensor in tensors_in(values):
            found |= self._calls.get(tensor, frozenset())
            base = _base(tensor)
            if base is not None:  # a view that was made where nothing is seen
                found |= self._calls.get(base, frozenset())
        return found

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

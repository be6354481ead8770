"""Recognises a softmax: torch's function, or the exponential of scores less their ``logsumexp``."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SOFTMAX = frozenset({torch.softmax, torch.special.softmax, F.softmax, Tensor.softmax})
_LOG_SOFTMAX = frozenset({torch.log_softmax, torch.special.log_softmax, F.log_softmax, Tensor.log_softmax})
_LOGSUMEXP = frozenset({torch.logsumexp, torch.special.logsumexp, Tensor.logsumexp})
_LESS = frozenset({torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__})
_EXPONENTIAL = frozenset({torch.exp, Tensor.exp})


@dataclass(frozen=True)
class Softmax:
    """What a softmax was taken of.

    Attributes:
        scores: S.
        version: of S, when it was read; a version counts what was written into a tensor.
        axis: over which it was taken.
    """

    scores: Tensor
    version: int
    axis: int


@dataclass(frozen=True)
class _Part:
    """A tensor on the way to a softmax, held weakly."""

    tensor: weakref.ref[Tensor]
    version: int
    of: Softmax
    is_sum: bool  # the logarithm of the sum; otherwise that of the softmax itself


class SoftmaxRecogniser:
    """Follows the functions that a model calls, and says which result is a softmax.

    Example:
        >>> seen, scores = SoftmaxRecogniser(), torch.randn(2, 5, 5)
        >>> total = scores.logsumexp(-1, keepdim=True)
        >>> seen.see(torch.logsumexp, (scores, -1), {"keepdim": True}, total)
        >>> seen.see(torch.sub, (scores, total), {}, logarithm := scores - total)
        >>> seen.see(torch.exp, (logarithm,), {}, logarithm.exp()).axis
        2
    """

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}

    def see(
        self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any
    ) -> Softmax | None:
        """The softmax that this call completes; None if it completes none."""
        if function in _SOFTMAX:
            return _read(args, keywords)
        if function in _LOG_SOFTMAX:
            self._remember(result, _read(args, keywords), is_sum=False)
        elif function in _LOGSUMEXP:
            self._remember(result, _read(args, keywords), is_sum=True)
        elif function in _LESS and self._parts:
            scores, total, *rest = _given(args, keywords, ("input", "other", "alpha"))
            part = self._part(total, is_sum=True)
            if part is not None and part.scores is scores and rest == [None]:
                kept = total.dim() == scores.dim() and total.shape[part.axis] == 1
                kept &= total.requires_grad == scores.requires_grad  # a cut in between gives other gradients
                self._remember(result, part if kept else None, is_sum=False)
        elif function in _EXPONENTIAL and self._parts:
            return self._part(*_given(args, keywords, ("input",)), is_sum=False)
        return None

    def _remember(self, result: Any, of: Softmax | None, *, is_sum: bool) -> None:
        if of is not None and isinstance(result, Tensor):
            place = id(result)
            forgetting = weakref.ref(result, lambda _: self._parts.pop(place, None))
            self._parts[place] = _Part(forgetting, version_of(result), of, is_sum)

    def _part(self, tensor: Any, *, is_sum: bool) -> Softmax | None:
        """What a tensor is a part of, if neither it nor its scores were written over since."""
        part = self._parts.get(id(tensor))
        held = None if part is None else part.tensor()
        if part is None or held is None or held is not tensor or part.is_sum != is_sum:
            return None
        written = (version_of(held), version_of(part.of.scores)) != (part.version, part.of.version)
        return None if written else part.of


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written into, as far as torch knows."""
    return 0 if tensor.is_inference() else tensor._version


def _read(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Softmax | None:
    scores, axis = _given(args[:2], keywords, ("input", "dim"))
    if isinstance(axis, tuple | list) and len(axis) == 1:
        (axis,) = axis
    if not isinstance(axis, int) or not scores.dim():
        return None
    return Softmax(scores, version_of(scores), axis % scores.dim())


def _given(args: tuple[Any, ...], keywords: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    """Arguments by place or by name; None for those that aren't given."""
    return [args[place] if place < len(args) else keywords.get(name) for place, name in enumerate(names)]

"""Recognises eager attention, which a model computes step by step: a softmax over the keys, times values."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitcam.recording.product import EagerAttention, as_attention, as_product
from vitcam.recording.softmax import Softmax, SoftmaxRecogniser, version_of


def _functions(owner: Any, names: str) -> set[Any]:
    return {getattr(owner, name) for name in names.split()}


def _getter(name: str) -> Any:
    """What torch calls where a property of a tensor is read."""
    return vars(torch._C.TensorBase)[name].__get__


# Functions between a softmax and its product with the values that leave the weights as they are, in another tensor.
# Of the type, only the precision may change.
_SAME = frozenset(
    _functions(torch, "clone detach flatten reshape squeeze unflatten unsqueeze")
    | _functions(Tensor, "bfloat16 double float half to type type_as cpu cuda")
    | _functions(Tensor, "clone contiguous detach requires_grad_")
    | _functions(Tensor, "flatten reshape reshape_as squeeze unflatten unsqueeze view view_as")
)
# Those that move the axes.
_AXES = "adjoint moveaxis movedim permute swapaxes swapdims transpose"
_MOVED = frozenset(_functions(torch, _AXES) | _functions(Tensor, _AXES) | {_getter("mH"), _getter("mT")})
# Those that leave the weights as they are if nothing is to be done, which is looked up. Explaining is deterministic,
# and so dropout is among them.
_SAME_IF_EQUAL = frozenset(
    _functions(F, "alpha_dropout dropout feature_alpha_dropout relu")
    | _functions(Tensor, "clamp clamp_min clip nan_to_num relu")
    | _functions(torch, "clamp clamp_min clip dropout nan_to_num relu")
)
_ROWS_COMPARED = 4


@dataclass(frozen=True)
class _Weights:
    """What is remembered of a tensor that holds the weights of an attention.

    Attributes:
        source: what the softmax was taken of; None for a product of several attentions' weights.
        source_version: of ``source``; a version counts what was written into a tensor.
        scores: the source, laid out as the weights are.
        axis: over which the softmax was taken.
    """

    source: Tensor | None = None
    source_version: int = 0
    scores: Tensor | None = None
    axis: int = -1


@dataclass(frozen=True)
class _Holder:
    """A tensor that holds weights: weakly, so that nothing is kept alive which the model has let go."""

    tensor: weakref.ref[Tensor]
    version: int
    weights: _Weights


class EagerRecogniser:
    """Follows the functions that a model calls, and says which product is an attention's output.

    Only what lies between a softmax and its products with values is looked at, and every tensor that holds the
    same weights is known: a copy that the model keeps, a view, a cast. Several softmaxes may be under way at once.
    Weights that are changed in between (the talking heads of CaiT, a gate, a difference of two maps, a second
    normalisation) aren't recognised, because O = softmax(S) v doesn't hold then. Some rows of the weights are
    compared with softmax(S) to be sure.

    Example:
        >>> seen, scores, value = EagerRecogniser(), torch.randn(1, 2, 5, 5), torch.randn(1, 2, 5, 3)
        >>> weights = scores.softmax(-1)
        >>> seen.see(torch.softmax, (scores, -1), {}, weights)
        >>> seen.attention(torch.matmul, (weights, value), {}).scores.equal(scores)
        True
        >>> seen.attention(torch.matmul, (weights * 0.5, value), {}) is None
        True
    """

    def __init__(self) -> None:
        self._holders: dict[int, _Holder] = {}
        self._softmaxes = SoftmaxRecogniser()

    def attention(
        self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> EagerAttention | None:
        """S and v, if this call computes softmax(S) v; else None."""
        product = as_product(function, args, keywords) if self._holders else None
        if product is None:
            return None
        for which, tensor in enumerate(product.operands):
            weights = self._weights(tensor)
            if weights is None or weights.scores is None:
                continue
            if self._weights(product.operands[1 - which]) is not None:
                return None  # weights times weights
            # A cut in the gradient between softmax and product is kept.
            scores = weights.scores if tensor.requires_grad else weights.scores.detach()
            attention = as_attention(product, which, scores, weights.axis)
            if attention is not None and attention.scores.dim() > 2 and _agree(tensor, weights):
                return attention
        return None

    def see(self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        """Remembers a softmax, and what holds the same weights as one that was seen."""
        softmax = self._softmaxes.see(function, args, keywords, result)
        if softmax is not None:
            weights = _of_softmax(softmax, result)
        elif self._holders and isinstance(result, Tensor):
            weights = self._followed(function, args, keywords, result)
        else:
            return
        if weights is not None:
            place = id(result)
            forgetting = weakref.ref(result, lambda _: self._holders.pop(place, None))
            self._holders[place] = _Holder(forgetting, version_of(result), weights)

    def _weights(self, tensor: Any) -> _Weights | None:
        """The weights that a tensor holds, if neither they nor their source were written over since."""
        holder = self._holders.get(id(tensor))
        held = None if holder is None else holder.tensor()
        if holder is None or held is None or held is not tensor or holder.version != version_of(held):
            return None
        source = holder.weights.source
        if source is not None and version_of(source) != holder.weights.source_version:
            return None
        return holder.weights

    def _followed(
        self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Tensor
    ) -> _Weights | None:
        """The weights that the result of a call holds; None if it holds none, or others."""
        tensor: Any = args[0] if args else keywords.get("input")
        weights = self._weights(tensor)
        if weights is not None and weights.scores is not None:
            same = _same_weights(weights, weights.scores, tensor, function, args, keywords, result)
            if same is not None:
                return same
        product = as_product(function, args, keywords)
        if product is not None and all(self._weights(operand) is not None for operand in product.operands):
            return _Weights()  # a rollout that the model computes itself: its maps aren't values
        return None


def _of_softmax(softmax: Softmax, result: Tensor) -> _Weights | None:
    scores = softmax.scores
    if result is scores or result.dim() < 3 or _is_wrapped(result):
        return None
    return _Weights(scores, softmax.version, scores, softmax.axis)


def _same_weights(
    weights: _Weights,
    scores: Tensor,
    tensor: Tensor,
    function: Any,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    result: Tensor,
) -> _Weights | None:
    """The weights that a function of a tensor with weights gives; None if they may be others."""
    if function in _MOVED:
        rest, others = args[1:], {name: value for name, value in keywords.items() if name != "input"}
        # Where the softmax's axis went is seen on a tensor whose axes differ in size.
        marked = torch.empty(tuple(range(2, 2 + scores.dim())), device="meta")
        axis = function(marked, *rest, **others).shape.index(weights.axis + 2)
        return replace(weights, scores=function(scores, *rest, **others), axis=axis)
    if _is_alias(result, tensor):
        return weights
    if function in _SAME and result.is_floating_point():
        if result.shape == tensor.shape:
            return weights
        from_end = weights.axis - tensor.dim()
        if from_end >= -2 and result.shape[-2:] == tensor.shape[-2:] and result.numel() == tensor.numel():
            return replace(weights, scores=scores.reshape(result.shape), axis=from_end % result.dim())
    if function in _SAME_IF_EQUAL and result.shape == tensor.shape:
        return weights if not _is_readable(tensor) or torch.equal(result, tensor) else None
    return None


def _is_alias(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory, read in the same way."""
    if one is other:
        return True
    has_memory = type(one) is type(other) is Tensor and one.layout is torch.strided and not _is_wrapped(one)
    return (
        has_memory
        and (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
        and one.device.type != "meta"
        and one.stride() == other.stride()
        and one.data_ptr() == other.data_ptr()
    )


def _agree(tensor: Tensor, weights: _Weights) -> bool:
    """Whether some rows of the weights are the softmax of their scores, as they must be.

    What is written behind torch's back (through ``.data`` or numpy) is found here.
    """
    scores = weights.scores
    assert scores is not None
    if not _is_readable(tensor):
        return True
    rows, of_scores = (x.detach().movedim(weights.axis, -1) for x in (tensor, scores))
    step = slice(None, None, max(1, rows.shape[-2] // _ROWS_COMPARED))
    rows, of_scores = rows[..., step, :], of_scores[..., step, :]
    short = torch.finfo(tensor.dtype).bits < 32 or torch.finfo(scores.dtype).bits < 32
    expected = of_scores.float().softmax(-1).reshape(rows.shape)
    return torch.allclose(
        rows.float(), expected, rtol=5e-2 if short else 1e-3, atol=1e-3 if short else 1e-6, equal_nan=True
    )


def _is_readable(tensor: Tensor) -> bool:
    """Whether values can be looked at: not while a graph is traced, for which the model was looked at before."""
    traced = torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
    return type(tensor) is Tensor and not tensor.is_meta and not traced


def _is_wrapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for many, under ``vmap``."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))

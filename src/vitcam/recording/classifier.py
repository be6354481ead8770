"""Tells a model with a classification head from a backbone, whose output are features, by how that was made."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitcam.errors import ModelError
from vitcam.recording.upstream import tensors_in


@dataclass(frozen=True, eq=False)
class Origin:
    """How a tensor was made.

    Attributes:
        function: the name of the function that made it; "" for what was there before, such as a weight or the images.
        parents: the origins of the tensors that it was made from.
        shape: of the tensor.
        time: the number of the call that made it.
    """

    function: str
    parents: tuple[Origin, ...]
    shape: tuple[int, ...]
    time: int


@dataclass
class _Held:
    tensor: weakref.ref[Tensor]
    origin: Origin


@dataclass
class _Memory:
    held: dict[int, _Held] = field(default_factory=dict)
    time: int = 0


class Lineage(TorchFunctionMode):
    """Inside the ``with``, notes how each tensor of the current thread is made. Keeps none of them alive.

    What runs inside a function that torch takes for one (multi-head attention, an ``autograd.Function``) isn't seen.

    Example:
        >>> with Lineage() as lineage:
        ...     logits = model(images)
        >>> lineage.of(logits).function
        'linear'
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory = _Memory()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        given = list(tensors_in((*args, *keywords.values())))
        result = function(*args, **keywords)
        name = getattr(function, "__name__", "")
        for made in tensors_in((result,)):
            if not any(made is tensor for tensor in given) or name.endswith("_"):
                self._note(made, name, given)
        return result

    def of(self, tensor: Tensor) -> Origin:
        """The origin of a tensor."""
        held = self._memory.held.get(id(tensor))
        if held is not None and held.tensor() is tensor:
            return held.origin
        return Origin("", (), tuple(tensor.shape), 0)

    def _note(self, made: Tensor, function: str, given: Sequence[Tensor]) -> None:
        memory, place = self._memory, id(made)
        memory.time += 1
        parents = tuple(self.of(tensor) for tensor in given)
        origin = Origin(function, parents, tuple(made.shape), memory.time)
        memory.held[place] = _Held(weakref.ref(made), origin)


_ATTENTION = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward"})
# Of two tensors that the model computed, these write an attention out. None of them keeps channels where they are.
_PRODUCTS = frozenset({"matmul", "__matmul__", "linalg_matmul", "bmm", "einsum"})
_ADDITIONS = frozenset({"add", "__add__", "__radd__", "__iadd__", "add_"})
_JOINING = frozenset({"cat", "concat", "concatenate"})
# What is known to leave channels where they are. Behind anything else there is no telling.
_KEEPING = (
    _ADDITIONS
    | _JOINING
    | {"layer_norm", "rms_norm", "batch_norm", "group_norm", "normalize"}
    | {"norm", "rsqrt", "sqrt", "var", "std"}
    | {"mean", "sum", "amax", "max", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool2d", "stack"}
    | {"__getitem__", "select", "narrow", "unbind", "split", "chunk", "expand"}
    | {"squeeze", "unsqueeze", "flatten", "reshape", "view", "transpose", "permute"}
    | {"contiguous", "clone", "detach", "dropout", "alpha_dropout"}
    | {"to", "float", "type", "type_as", "half", "bfloat16", "double", "nan_to_num"}
    | {"gelu", "relu", "silu", "tanh", "sigmoid", "clamp", "softmax", "log_softmax"}
    | {"pow", "__pow__", "square"}
    | {"sub", "__sub__", "__rsub__", "__isub__", "sub_"}
    | {"mul", "__mul__", "__rmul__", "__imul__", "mul_"}
    | {"div", "__truediv__", "__rtruediv__", "__itruediv__", "div_", "true_divide", "addcmul", "lerp"}
)


def check_head(model: nn.Module, logits: Tensor, lineage: Lineage) -> None:
    """Makes sure that what is taken for logits isn't a backbone's features.

    They are features if they are the tokens that leave the last block, selected or pooled, normalised, scaled, put
    side by side, but never mapped to classes. Where that can't be known, they are taken for logits.

    Args:
        model: the model.
        logits: what was found in its output, from a pass inside ``lineage``.
        lineage: how the pass made them.

    Raises:
        ModelError: the model has no classification head.

    Example:
        >>> with Lineage() as lineage:
        ...     logits = model(images)
        >>> check_head(model, logits, lineage)
    """
    origin = lineage.of(logits)
    if _says_headless(model) or _are_features(origin):
        raise ModelError(
            f"{type(model).__name__} has no classification head: its output of shape {tuple(logits.shape)} are the "
            "features of its last block, not logits of classes. Give it a head (timm: num_classes=…; Hugging Face: a "
            "…ForImageClassification); or say what to explain: targets=vitcam.similar_to(image), or a function from "
            "its output to one score per image, for example targets=lambda features: features @ direction"
        )


def _says_headless(model: nn.Module) -> bool:
    """Whether a model of timm was made with ``num_classes=0``, and was given no head since."""
    classifier = getattr(model, "get_classifier", None)
    return (
        getattr(model, "num_classes", None) == 0
        and callable(classifier)
        and type(classifier()) is nn.Identity
    )


def _are_features(output: Origin) -> bool:
    """Whether every way back from the output leads to what went into the last block, past the block's own layers."""
    attentions = [origin.time for origin in _ancestors(output, since=0) if _is_attention(origin)]
    if not attentions:
        return False
    last, width = max(attentions), output.shape[-1]
    reaches_tokens = False
    waiting, seen = [(output, False)], set[tuple[Origin, bool]]()
    while waiting:
        origin, joined = waiting.pop()
        if not origin.function or (origin, joined) in seen:  # a weight, such as the bias of a norm
            continue
        seen.add((origin, joined))
        if origin.time < last:
            if not joined and width not in origin.shape:
                return False  # compared with prototypes by arithmetic: as many columns as there are of them
            reaches_tokens = True
        elif origin.function not in _KEEPING:
            return False
        else:
            joined = joined or origin.function in _JOINING
            waiting += [(parent, joined) for parent in _way_back(origin)]
    return reaches_tokens


def _way_back(origin: Origin) -> tuple[Origin, ...]:
    """The parents of a tensor; of a residual addition x + f(x) it is x alone."""
    made = [parent for parent in origin.parents if parent.function]
    if origin.function in _ADDITIONS and len(made) == 2:
        for kept, added in (made, made[::-1]):
            if any(kept is ancestor for ancestor in _ancestors(added, since=kept.time)):
                return (kept,)
    return origin.parents


def _ancestors(origin: Origin, since: int) -> Iterator[Origin]:
    """An origin and what it was made from, back to a time."""
    waiting, seen = [origin], {origin}
    while waiting:
        current = waiting.pop()
        yield current
        further = [parent for parent in current.parents if parent.time >= since and parent not in seen]
        seen.update(further)
        waiting += further


def _is_attention(origin: Origin) -> bool:
    if origin.function in _ATTENTION:
        return True
    computed = [parent for parent in origin.parents if parent.function]
    return origin.function in _PRODUCTS and len(computed) > 1 and len(origin.shape) > 2

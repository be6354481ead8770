"""Runs a model so that its backward pass carries relevance: a context at the level of operations.

Inside the context (a ``torch.overrides.TorchFunctionMode``: this thread only, and ended with the ``with``)
every torch function that relevance passes through becomes a :class:`Call`, whose backward follows a rule set.
The model's modules, parameters and classes and torch's functions stay as they are, and so do all values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from vitcam.errors import MethodError
from vitcam.methods.relevance.attention import AttentionLayer, in_one_form
from vitcam.methods.relevance.biases import share_of_bias
from vitcam.methods.relevance.call import Call
from vitcam.methods.relevance.graph import unseen_node
from vitcam.methods.relevance.names import JOINING, STRUCTURAL
from vitcam.methods.relevance.operations import READERS, attention_call, joined, nearest_calls
from vitcam.methods.relevance.rules import RuleSet
from vitcam.recording import AttentionCall, fast_linear, multi_head_attention


@dataclass(eq=False)
class Carrier:
    """What a backward pass through the calls carries just now: messages by rule, or gradients.

    Attributes:
        biases: what the bias of each call contributes, collected on the way; None: it isn't.
    """

    rules: RuleSet
    ordinary: bool = False
    biases: list[Tensor] | None = None


class _Ruled(torch.autograd.Function):
    """The one autograd function: a call forward, its rule backward."""

    @staticmethod
    def forward(ctx: Any, carrier: Carrier, call: Call, *carrying: Tensor) -> Tensor:
        ctx.carrier, ctx.call = carrier, call
        return call.run()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, message: Tensor) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        call.check()
        # Here and not around the whole backward pass, during which torch switches function modes off.
        carrier = ctx.carrier
        with fast_linear():
            if carrier.ordinary:
                messages = call.gradient(message)
            else:
                messages = carrier.rules.rules[call.operation](call, message)
            if carrier.biases is not None:
                share = share_of_bias(call, message, of_activations=carrier.rules.complete)
                carrier.biases += [] if share is None else [share]
        return (None, None, *(m for m, carries in zip(messages, call.carries, strict=True) if carries))


_sdpa = F.scaled_dot_product_attention


class Propagation(TorchFunctionMode):
    """The context. Use :func:`~vitcam.methods.relevance.tracing.trace`.

    Args:
        rules: the rule set.
        images: number of images in the batch.
        start_layer: from which attention layer on relevance is wanted; below it nothing is kept. None:
            relevance is wanted at the images.
    """

    def __init__(self, rules: RuleSet, images: int, start_layer: int | None) -> None:
        super().__init__()
        self.carrier = Carrier(rules)
        self.attentions: list[AttentionLayer] = []
        self._images = images
        self._start = start_layer
        self._known: set[Any] = set()  # nodes of the graph

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if function is _sdpa:
            return self._attention(AttentionCall.of(*args, **keywords))
        if function is F.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **keywords)
        if not _any_carries((*args, *keywords.values())):
            return function(*args, **keywords)
        if self._below_start:
            with torch.no_grad():
                return _marked(function(*args, **keywords))
        if not torch.is_grad_enabled():  # inside a custom function, which is refused where its result is used
            return function(*args, **keywords)
        self.refuse_unseen((*args, *keywords.values()))
        name = _name_of(function)
        if name in STRUCTURAL:
            call = joined(function, args, keywords) if self._keeps_constants and name in JOINING else None
            return function(*args, **keywords) if call is None else self._run(call, name)
        return self._other(name, function, args, keywords)

    def refuse_unseen(self, values: Any) -> None:
        """Makes sure that all of the graph above tensors was made by functions that this context has seen.

        Args:
            values: tensors, also in lists or mappings, or what a model returned; others are left aside.

        Raises:
            MethodError: it wasn't.
        """
        for tensor in _carrying(_held(values)):
            node = unseen_node(tensor, self._known)
            if node is not None:
                raise MethodError(
                    f"{self.carrier.rules.name} can't follow {node}, by which this model computes: a custom "
                    "torch.autograd.Function, a scripted function or an extension, for which it has no rule. "
                    "Replace it by torch's own functions, or choose a method that needs no rules (agcam, gae, "
                    "gradsam, gradcam)"
                )

    @property
    def _keeps_constants(self) -> bool:
        """Whether tokens that don't come from the images have a share, as biases have."""
        return self.carrier.rules.with_biases

    @property
    def _below_start(self) -> bool:
        return self._start is not None and len(self.attentions) <= self._start

    def _attention(self, given: AttentionCall) -> Tensor:
        self.refuse_unseen((given.query, given.key, given.value))
        by_head = in_one_form(given, self._images)
        call = attention_call(by_head)
        if not any(call.carries):  # of what doesn't come from the images, such as a text
            output = call.function(*call.operands)
        elif self._below_start:
            with torch.no_grad():
                output = cast(Tensor, _marked(call.function(*call.operands)))
        else:
            output = self._run(call, _sdpa.__name__)
        q, k, v = (x.detach() for x in (by_head.query, by_head.key, by_head.value))
        self.attentions.append(
            AttentionLayer(q, k, v, by_head.mask, by_head.scale, by_head.is_causal, output)
        )
        return output.view(*given.query.shape[:-1], -1)

    def _other(self, name: str, function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        in_place = (name.endswith("_") and not name.endswith("__")) or keywords.pop("inplace", False)
        named = [keywords.pop(key) for key in ("input", "other") if key in keywords]
        given = (*args, *named)
        reader = READERS.get(name.rstrip("_") if in_place else name)
        if reader is not None:
            if in_place:
                call = reader(_on_a_copy(function), given[0].clone(), *given[1:], **keywords)
            else:
                call = reader(function, *given, **keywords)
            if call is not None and call.operation in self.carrier.rules.rules:
                result = self._run(call, name)
                return given[0].copy_(result) if in_place else result
        result = function(*given, **keywords)
        if _any_carries((result,)):
            where = "" if self._start is None else " after its attention"
            what = repr(name) if "." in name else f"torch's {name!r}"
            raise MethodError(
                f"{self.carrier.rules.name} has no rule for {what}, which this model uses{where}; choose a method "
                "that needs no rules (agcam, rollout, gae, gradsam)"
            )
        return result

    def _run(self, call: Call, name: str) -> Tensor:
        call.name, call.images = name, self._images
        _assign_role(call)
        carrying = (x for x, carries in zip(call.operands, call.carries, strict=True) if carries)
        return cast(Tensor, _Ruled.apply(self.carrier, call, *carrying))


def _assign_role(call: Call) -> None:
    """Tells the linear maps around an attention from the others; some rule sets treat them differently."""
    if call.operation == "linear":
        above = nearest_calls(call.operands[0], _AFTER_ATTENTION)
        if any(made.operation in ("attention", "matmul") for made in above):
            call.operation = "projection"
    elif call.operation in ("matmul", "multiply", "gate"):
        call.sources = tuple(
            frozenset(made.name for made in nearest_calls(x, _AFTER_WEIGHTS)) if carries else frozenset()
            for x, carries in zip(call.operands, call.carries, strict=True)
        )
    if call.operation in ("attention", "matmul"):
        for operand, carries in zip(call.operands, call.carries, strict=True):
            for made in nearest_calls(operand, _BEFORE_ATTENTION) if carries else ():
                if made.operation == "linear":
                    made.operation = "projection"


def _on_a_copy(function: Any) -> Any:
    """An in-place function as one that leaves its argument alone."""
    return lambda x, *args, **kwargs: function(x.clone(), *args, **kwargs)


def _marked(result: Any) -> Any:
    """Marks what depends on the images as carrying, without a graph: below the first layer of interest.

    So a residual add knows that both of its operands carry.
    """
    for value in result if isinstance(result, (list, tuple)) else (result,):
        if isinstance(value, Tensor) and value.is_floating_point():
            value.requires_grad_()
    return result


_AFTER_ATTENTION = frozenset({"norm", "scale"})
_AFTER_WEIGHTS = frozenset({"scale", "linear", "projection", "convolution"})  # of heads that talk
_BEFORE_ATTENTION = frozenset({"norm", "scale", "add"})


def _any_carries(values: Any) -> bool:
    return any(True for _ in _carrying(values))


def _held(values: Any) -> Any:
    """What a model's output holds, where it is an object of a class of its own."""
    if isinstance(values, Tensor | Mapping | list | tuple):
        return values
    return getattr(values, "__dict__", (getattr(values, "logits", None),))


def _carrying(values: Any) -> Iterator[Tensor]:
    """The tensors in the graph among values, which may be in lists or mappings."""
    if isinstance(values, Tensor):
        if values.requires_grad:
            yield values
    elif isinstance(values, Mapping):
        yield from _carrying(tuple(values.values()))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _carrying(value)


def _name_of(function: Any) -> str:
    """torch's name of a function; another library's isn't torch's, though it be called the same."""
    name: str = getattr(function, "__name__", repr(function))
    module = getattr(function, "__module__", None) or "torch"
    if module == "torch._ops.aten":
        return name.partition(".")[0]
    ours = module.partition(".")[0] == "torch" and not module.startswith("torch._ops.")
    return name if ours else f"{module}.{name}"

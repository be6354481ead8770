"""Reads calls of torch functions: which operation each one is, and on which operands.

A reader gets a function and its arguments, and answers a :class:`Call`, or None where the operation isn't one
that it knows. In-place variants (``add_``, ``x += y``, ``inplace=True``) come here as the plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from vitcam.methods.relevance.attention import attend, attention_gradient
from vitcam.methods.relevance.call import Call, Operation
from vitcam.methods.relevance.names import ELEMENTWISE, FACTORS, MIXTURES, POOLS, SWITCHES
from vitcam.methods.relevance.precise import in_precision_of
from vitcam.recording import AttentionCall, contiguous_gradient, transposed_linear

Function = Callable[..., Any]
Reader = Callable[..., Call | None]


def _linear(function: Function, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call | None:
    if _carries(weight) or _carries(bias):
        return None
    return Call(
        "linear",
        F.linear,
        (x, weight, bias),
        transpose=transposed_linear,
        vjp=lambda x, w, b, message: (transposed_linear(*in_precision_of(w, message, w)),),
    )


def _convolution(
    function: Function,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call | None:
    if padding == "same" or _carries(weight) or _carries(bias):
        return None
    settings = (stride, 0 if padding == "valid" else padding, dilation, groups)
    return Call(
        "convolution",
        lambda x, w, b: F.conv2d(x, w, b, *settings),
        (x, weight, bias),
        transpose=lambda s, w: conv2d_input(x.shape, w, s, *settings),
    )


def _matmul(function: Function, a: Any, b: Any) -> Call | None:
    if a.ndim < 2 or b.ndim < 2:
        return None
    if a.requires_grad and b.requires_grad:
        return Call("matmul", torch.matmul, (a, b))
    if a.requires_grad:
        return Call(
            "linear",
            lambda x, w, _: x @ w,
            (a, b, None),
            transpose=lambda s, w: (s @ w.mT).sum_to_size(a.shape),
        )
    return Call(
        "linear",
        lambda x, w, _: w @ x,
        (b, a, None),
        transpose=lambda s, w: (w.mT @ s).sum_to_size(b.shape),
    )


def _einsum(function: Function, equation: Any, *operands: Any) -> Call | None:
    """A product of two tensors; of more there is no reader."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    both = all(map(_carries, operands))
    return Call("matmul" if both else "mixture", lambda a, b: torch.einsum(equation, a, b), operands)


def _addmm(function: Function, bias: Any, x: Any, weight: Any) -> Call | None:
    """A linear layer in another order; with factors of its own it has no reader."""
    if _carries(bias) or _carries(weight) or x.ndim != 2:
        return None
    return _linear(F.linear, x, weight.mT, bias)


def _add(function: Function, a: Any, b: Any, *, alpha: float = 1) -> Call:
    if _carries(a) and _carries(b):
        return Call("add", lambda a, b: torch.add(a, b, alpha=alpha), (a, b))
    return Call("scale", lambda a, b: torch.add(_tensor(a, b), b, alpha=alpha), (a, b), affine=True)


def _subtract(function: Function, a: Any, b: Any, *, alpha: float = 1) -> Call:
    return _add(function, a, b, alpha=-alpha)


def _subtract_from(function: Function, a: Any, b: Any) -> Call:
    return _add(function, b, a, alpha=-1)


def _tensor(a: Any, like: Any) -> Tensor:
    return a if isinstance(a, Tensor) else torch.as_tensor(a, dtype=like.dtype, device=like.device)


def _multiply(function: Function, a: Any, b: Any) -> Call:
    if not (_carries(a) and _carries(b)):
        return Call("scale", torch.mul, (a, b))
    if _is_factor(a):
        a, b = b, a
    if _is_factor(b):
        return Call("gate", torch.mul, (a, b))
    if _switches(a, b):
        a, b = b, a
    return Call("gate" if _switches(b, a) else "multiply", torch.mul, (a, b))


def _divide(function: Function, a: Any, b: Any) -> Call | None:
    if not _carries(a):
        return None
    return Call("gate" if _carries(b) else "scale", torch.div, (a, b))


def _unary(operation: Operation) -> Reader:
    """A reader for functions of one tensor, the first."""

    def read(function: Function, x: Tensor, *args: Any, **kwargs: Any) -> Call | None:
        if any(map(_carries, (*args, *kwargs.values()))):
            return None
        return Call(operation, lambda x: function(x, *args, **kwargs), (x,), affine=operation == "mixture")

    return read


def _layer_norm(
    function: Function,
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    axes = tuple(range(-len(tuple(normalized_shape)), 0))

    def frozen(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        scaled = centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
        return scaled if weight is None else scaled * weight

    def norm(x: Tensor) -> Tensor:
        return F.layer_norm(x, normalized_shape, weight, bias, eps)

    return Call("norm", norm, (x,), frozen=frozen, shift=bias)


def _rms_norm(
    function: Function,
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Call:
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps

    def frozen(x: Tensor) -> Tensor:
        scaled = x * (x.detach().square().mean(axes, keepdim=True) + small).rsqrt()
        return scaled if weight is None else scaled * weight

    return Call("norm", lambda x: F.rms_norm(x, normalized_shape, weight, eps), (x,), frozen=frozen)


def _normalize(
    function: Function, x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Call:
    def frozen(x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(x.detach(), p, dim, keepdim=True)
        return x / length.clamp_min(eps)

    return Call("norm", lambda x: F.normalize(x, p, dim, eps), (x,), frozen=frozen)


def _batch_norm(function: Function, x: Tensor, *args: Any, **kwargs: Any) -> Call:
    # Its kernel takes no statistics of fewer digits than the input's, which a model in bf16 has. Not for all calls
    # alike, since they would hold raised copies of all weights: lrp took 1.7 times as long with them.
    args, kwargs = tree_map(lambda given: given.to(x) if isinstance(given, Tensor) else given, (args, kwargs))
    call = Call("norm", lambda x: contiguous_gradient(function(x, *args, **kwargs)), (x,))
    call.frozen = call.function
    call.shift = function(x.new_zeros(1, *x.shape[1:2], *(1,) * (x.ndim - 2)), *args, **kwargs)
    return call


def _group_norm(
    function: Function,
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    def frozen(x: Tensor) -> Tensor:
        groups = x.unflatten(1, (num_groups, -1)).flatten(2)
        centred = groups - groups.mean(-1, keepdim=True)
        scaled = centred * (centred.detach().square().mean(-1, keepdim=True) + eps).rsqrt()
        result: Tensor = scaled.view_as(x)
        return result if weight is None else result * weight.view(-1, *(1,) * (x.ndim - 2))

    shift = None if bias is None else bias.view(-1, *(1,) * (x.ndim - 2))
    return Call(
        "norm", lambda x: F.group_norm(x, num_groups, weight, bias, eps), (x,), frozen=frozen, shift=shift
    )


def _addcmul(function: Function, a: Any, b: Any, c: Any, *, value: float = 1) -> Call | None:
    """a + value·b·c, linear in a and b; with a factor c that carries too it has no reader."""
    if _carries(c):
        return None
    return Call("mixture", lambda a, b: torch.addcmul(a, b, c, value=value), (a, b), affine=True)


def joined(function: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> Call | None:
    """Values joined with constants; None where all of them carry."""
    leaves, form = tree_flatten((args, keywords))
    places = [
        place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    if all(_carries(leaves[place]) for place in places):
        return None

    def join(*tensors: Tensor) -> Tensor:
        given = dict(zip(places, tensors, strict=True))
        args, keywords = tree_unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)], form)
        result: Tensor = function(*args, **keywords)
        return result

    return Call("mixture", join, tuple(leaves[place] for place in places), affine=True)


def attention_call(given: AttentionCall) -> Call:
    """The call of ``scaled_dot_product_attention`` with these arguments."""
    scale, causal = given.scale, given.is_causal
    return Call(
        "attention",
        partial(attend, scale=scale, causal=causal),
        (given.query, given.key, given.value, given.mask),
        vjp=partial(attention_gradient, scale=scale, causal=causal),
        options={"scale": scale, "causal": causal},
    )


READERS: dict[str, Reader] = {
    **dict.fromkeys(ELEMENTWISE, _unary("activation")),
    **dict.fromkeys(POOLS, _unary("pool")),
    **dict.fromkeys(("neg", "dropout"), _unary("scale")),
    "softmax": _unary("softmax"),
    "linear": _linear,
    "conv2d": _convolution,
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "einsum": _einsum,
    "addmm": _addmm,
    **dict.fromkeys(MIXTURES, _unary("mixture")),
    **dict.fromkeys(("add", "__radd__"), _add),
    **dict.fromkeys(("sub", "subtract"), _subtract),
    **dict.fromkeys(("rsub", "__rsub__"), _subtract_from),
    **dict.fromkeys(("mul", "multiply", "__rmul__"), _multiply),
    **dict.fromkeys(("div", "divide", "true_divide"), _divide),
    "addcmul": _addcmul,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "normalize": _normalize,
    "batch_norm": _batch_norm,
}
"""From the names of torch functions to their readers."""


def nearest_calls(tensor: Tensor, through: frozenset[str]) -> Iterator[Call]:
    """The calls that made a tensor, seen through functions that only move values and through others given."""
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        call = getattr(node, "call", None)
        if isinstance(call, Call) and call.operation not in through:
            yield call
        else:
            waiting += [above for above, _ in node.next_functions]


def _carries(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _is_factor(x: Tensor) -> bool:
    return any(call.name in FACTORS for call in nearest_calls(x, frozenset()))


def _switches(x: Tensor, value: Tensor) -> bool:
    """Whether it is a gate of a value that it is made of: 1 + erf(value)."""
    if not any(call.name in SWITCHES for call in nearest_calls(x, frozenset({"scale"}))):
        return False
    return bool(_made_of(x) & _made_of(value))


def _made_of(x: Tensor) -> set[int]:
    """The calls behind what is done to single elements."""
    single = frozenset({"scale", "add", "activation", "multiply", "gate"})
    return {id(call) for call in nearest_calls(x, single)}

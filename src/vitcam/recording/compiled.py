"""A forward pass whose transformer blocks are compiled by ``torch.compile``, all but the attention in them.

The compiler sees each attention call as one opaque operation, which answers it in Python as the interception of
an ordinary pass does. Equal blocks share one compiled function, so that one of them is compiled and not twelve.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.overrides import TorchFunctionMode

from vitcam.errors import ModelError
from vitcam.recording.attention import Attention, AttentionCall, among_all_tokens, with_head_dimension
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Layout
from vitcam.recording.onednn import fast_attention, fast_linear
from vitcam.recording.passes import Pass, Sites
from vitcam.recording.preservation import replaced_forward

BACKEND = "inductor"

_compiled: WeakKeyDictionary[nn.Module, Callable[..., Any]] = WeakKeyDictionary()
_answering = threading.local()
_sdpa = F.scaled_dot_product_attention


def compiled_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    keep: Callable[[Attention], Attention] = lambda layer: layer,
) -> Pass:
    """As ``plain_pass`` without gradients, the blocks compiled. The first one takes a minute, later ones don't.

    Raises:
        ModelError: this model can't be compiled, or nothing can on this machine.
    """
    layers: list[Attention] = []
    sites = Sites(model, layout)

    def answer(call: AttentionCall) -> Tensor:
        # No hook may say who is calling: each call would be compiled anew. The order of the calls is known.
        site = sites.next(call)
        if site.stream is None:
            return call.run()
        by_head = with_head_dimension(call, len(images))
        output = fast_attention(by_head)
        seen = among_all_tokens(by_head, layout.tokens, layout.grid.patches) if site.pools else by_head
        layers.append(keep(Attention(site.name, site.pools, seen, output, stream=site.stream)))
        return output.clone().reshape(*call.query.shape[:-1], output.shape[-1])

    _answering.answer = answer
    try:
        with torch.no_grad(), _compiled_blocks(model, layout, answer):
            output = model(images)
    except TorchDynamoException as error:
        raise ModelError(
            f"{type(model).__name__} can't be compiled: {_reason(error)}. Leave out compile=True; the maps are "
            "the same without it"
        ) from error
    finally:
        del _answering.answer
    if len(layers) != len(layout.callers):
        raise ModelError(
            f"{type(model).__name__} can't be compiled: of its {len(layout.callers)} attention layers "
            f"{len(layers)} are seen inside compiled blocks, as is usual with torch.nn.MultiheadAttention. Leave "
            "out compile=True; the maps are the same without it"
        )
    return Pass(output, tuple(layers))


@contextlib.contextmanager
def _compiled_blocks(
    model: nn.Module, layout: Layout, answer: Callable[[AttentionCall], Tensor]
) -> Iterator[None]:
    """The blocks compiled, and attention outside of them answered; afterwards the model is as it was."""
    compiled = _compiled.get(model)
    if compiled is None:
        compiled = _compiled[model] = _compile()

    def eager(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with fast_linear(), intercept(answer):
            return forward(*args, **kwargs)

    with contextlib.ExitStack() as undo:
        for name in (*layout.blocks, *sorted(layout.pooling)):
            module = model.get_submodule(name)
            run = eager if name in layout.pooling else compiled
            undo.enter_context(replaced_forward(module, partial(run, *_unbound(module.forward))))
        yield


def _unbound(forward: Callable[..., Any]) -> tuple[Any, ...]:
    """A method as its function and its module: older compilers take each bound method for another program."""
    return (forward.__func__, forward.__self__) if isinstance(forward, MethodType) else (forward,)


def _compile() -> Callable[..., Any]:
    settings: dict[str, Any] = {"backend": BACKEND}
    if BACKEND == "inductor":
        # What is recorded must not be written over.
        settings["options"] = {"allow_buffer_reuse": False, "inplace_buffers": False}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:  # not in older versions
        settings["isolate_recompiles"] = True  # models don't use up each other's number of recompilations
    compiled: Callable[..., Any] = torch.compile(_block, **settings)
    return compiled


def _block(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What is compiled."""
    with fast_linear(), _AttentionAsOperation():
        return forward(*args, **kwargs)


class _AttentionAsOperation(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        if function is _sdpa:
            return _operation(AttentionCall.of(*args, **keywords))
        return function(*args, **keywords)


def _operation(call: AttentionCall) -> Tensor:
    output: Tensor = _attend(
        call.query, call.key, call.value, call.mask, call.scale, call.is_causal, call.enable_gqa
    )
    return output


@torch.library.custom_op(
    "vitcam::attend",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor? mask, float scale, bool causal, bool gqa) -> Tensor",
)
def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool, gqa: bool
) -> Tensor:
    output: Tensor = _answering.answer(AttentionCall(query, key, value, mask, scale, causal, gqa))
    if output.dim() != 4:
        return output.contiguous()
    return output.transpose(1, 2).contiguous().transpose(1, 2)


@_attend.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool, gqa: bool
) -> Tensor:
    *outer, queries, _ = query.shape
    if len(outer) != 2:
        return query.new_empty(*outer, queries, value.shape[-1])
    return query.new_empty(outer[0], queries, outer[1], value.shape[-1]).transpose(1, 2)


def _reason(error: Exception) -> str:
    """The line of a compiler's error that says what is wrong."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

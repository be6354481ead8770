"""Sees, and may answer, every call of ``scaled_dot_product_attention`` inside a ``with``.

The interception is a ``torch.overrides.TorchFunctionMode``: it holds for the current thread and ends with
the ``with``. One function is opaque to it: ``F.multi_head_attention_forward``, behind
``torch.nn.MultiheadAttention``, runs with modes switched off. For the duration of that one call
``F.scaled_dot_product_attention`` is swapped, under a lock, for a function that other threads pass through.

Of models that never call it, the attention that they write out (a softmax, times values) is seen in its stead.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.recording.written_out import WrittenOut

_sdpa = F.scaled_dot_product_attention
_swap_lock = threading.Lock()


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of one call of ``scaled_dot_product_attention``, dropout left out.

    Explaining is deterministic, so a call is always carried out without dropout.

    Attributes:
        query, key, value: (batch, heads, tokens, dim) as a model gives them; leading dimensions may differ.
        mask: boolean (True takes part) or additive, broadcastable to (batch, heads, queries, keys), or None.
        scale: what q·k is multiplied with before the softmax.
        is_causal: whether query i sees only keys up to i.
        enable_gqa: whether fewer key/value heads are shared by groups of query heads.
    """

    query: Float[Tensor, "*batch queries dim"]
    key: Float[Tensor, "*key_batch keys dim"]
    value: Float[Tensor, "*key_batch _keys value_dim"]  # as many as of the keys, unless those weren't kept
    mask: Shaped[Tensor, "*mask"] | None
    scale: float
    is_causal: bool
    enable_gqa: bool

    def run(self) -> Float[Tensor, "*batch queries value_dim"]:
        """Carries out the call with torch's own kernel."""
        gqa = {"enable_gqa": True} if self.enable_gqa else {}
        return _sdpa(
            self.query,
            self.key,
            self.value,
            attn_mask=self.mask,
            is_causal=self.is_causal,
            scale=self.scale,
            **gqa,
        )


Attend = Callable[[AttentionCall], Tensor]
Observe = Callable[[Tensor], None]
Linear = Callable[..., Tensor]


def intercept(
    attend: Attend,
    on_conv2d: Observe | None = None,
    linear: Linear = F.linear,
    *,
    written_out: bool = False,
) -> contextlib.AbstractContextManager[object]:
    """Lets ``attend`` answer every attention call of the current thread inside a ``with``.

    Args:
        attend: gets the call, returns the attention output. ``lambda call: call.run()`` changes nothing.
        on_conv2d: told the output of every ``conv2d``, from which a patch embedding is recognised.
        linear: gets the input, weight and bias of every ``linear``, returns its output.
        written_out: whether attention that the model writes out is answered too: as a call with a query and a key
            of zeros and S for its mask.

    Example:
        >>> calls = []
        >>> with intercept(lambda call: calls.append(call) or call.run()):
        ...     logits = model(images)
        >>> len(calls)
        12
    """
    return _Interception(attend, on_conv2d, linear, WrittenOut() if written_out else None)


class _Interception(TorchFunctionMode):
    def __init__(
        self, attend: Attend, on_conv2d: Observe | None, linear: Linear, written_out: WrittenOut | None
    ) -> None:
        super().__init__()
        self._written_out = written_out
        self._attend = attend
        self._on_conv2d = on_conv2d
        self._linear = linear

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if function is _sdpa:
            return self._attend(_call_of(*args, **keywords))
        if function is F.multi_head_attention_forward:
            return self._multi_head_attention(args, keywords)
        if function is F.linear:
            return self._linear(*args, **keywords)
        written_out = self._written_out and self._written_out.attention(function, args, keywords)
        if written_out:
            return self._attend(_call_of_scores(*written_out))
        result = function(*args, **keywords)
        if self._written_out is not None:
            self._written_out.see(function, args, keywords, result)
        if self._on_conv2d is not None and function in (torch.conv2d, F.conv2d):
            self._on_conv2d(result)
        return result

    def _multi_head_attention(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        weights: list[Tensor] = []
        wants_weights = keywords.get("need_weights", True)

        def attend(call: AttentionCall) -> Tensor:
            if wants_weights:
                weights.append(attention_probabilities(attention_scores(call)))
            return self._attend(call)

        with _swapped_sdpa(attend):
            output, _ = F.multi_head_attention_forward(*args, **{**keywords, "need_weights": False})
        if not wants_weights:
            return output, None
        probabilities = weights[0]
        if keywords.get("average_attn_weights", True):
            probabilities = probabilities.mean(dim=1)
        return output, probabilities if output.dim() == 3 else probabilities.squeeze(0)


def _call_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionCall:
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    return AttentionCall(query, key, value, attn_mask, scale, is_causal, enable_gqa)


def _call_of_scores(
    scores: Float[Tensor, "*batch queries keys"], value: Float[Tensor, "*batch keys dim"]
) -> AttentionCall:
    *batch, queries, keys = scores.shape
    query, key = scores.new_zeros(*batch, queries, 1), scores.new_zeros(*batch, keys, 1)
    return AttentionCall(query, key, value, scores, 1.0, False, False)


@contextlib.contextmanager
def _swapped_sdpa(attend: Attend) -> Iterator[None]:
    owner = threading.get_ident()

    def swapped(*args: Any, **kwargs: Any) -> Tensor:
        if threading.get_ident() != owner:
            return _sdpa(*args, **kwargs)
        return attend(_call_of(*args, **kwargs))

    with _swap_lock:
        current = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = swapped
        try:
            yield
        finally:
            F.scaled_dot_product_attention = current


def attention_scores(call: AttentionCall, rows: slice = slice(None)) -> Float[Tensor, "*batch queries keys"]:
    """S = q kᵀ · scale (+ mask) of one call, for some of its query rows. Keys hidden by a mask get -inf."""
    query = call.query[..., rows, :]
    scores = (query * call.scale) @ call.key.transpose(-2, -1)
    if call.mask is not None:
        mask = call.mask if call.mask.shape[-2] == 1 else call.mask[..., rows, :]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if call.is_causal:
        queries, keys = call.query.shape[-2], call.key.shape[-2]
        visible = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible[rows], -torch.inf)
    return scores


def attention_probabilities(scores: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch keys"]:
    """A = softmax(S), in fp32."""
    return scores.float().softmax(dim=-1)

"""Sees, and may answer, every call of ``scaled_dot_product_attention`` inside a ``with``.

The interception is a ``torch.overrides.TorchFunctionMode``: it holds for the current thread and ends with
the ``with``. Behind ``torch.nn.MultiheadAttention`` (torchvision, open_clip) torch runs
``F.multi_head_attention_forward`` as one piece, with function modes switched off inside. It is taken apart into the
operations that it is made of.

Of models that never call it, their eager attention (a softmax, times values) is seen instead.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall, attention_scores
from vitcam.recording.eager import EagerRecogniser

_sdpa = F.scaled_dot_product_attention
Attend = Callable[[AttentionCall], Tensor]
Observe = Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], None]
Linear = Callable[..., Tensor]
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def intercept(
    attend: Attend,
    observe: Observe | None = None,
    linear: Linear = F.linear,
    *,
    eager: bool = False,
) -> contextlib.AbstractContextManager[object]:
    """Lets ``attend`` answer every attention call of the current thread inside a ``with``.

    Args:
        attend: gets the call, returns the attention output. ``lambda call: call.run()`` changes nothing.
        observe: told of every other function: what it is, its arguments, its keyword arguments and its result.
        linear: gets the input, weight and bias of every ``linear``, returns its output.
        eager: whether attention that the model computes step by step is answered too: as a call with a query and a
            key of zeros and S for its mask.

    Example:
        >>> calls = []
        >>> with intercept(lambda call: calls.append(call) or call.run()):
        ...     logits = model(images)
        >>> len(calls)
        12
    """
    return _Interception(attend, observe, linear, EagerRecogniser() if eager else None)


class _Interception(TorchFunctionMode):
    def __init__(
        self, attend: Attend, observe: Observe | None, linear: Linear, eager: EagerRecogniser | None
    ) -> None:
        super().__init__()
        self._eager = eager
        self._attend = attend
        self._observe = observe
        self._linear = linear

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        if function is _sdpa:
            return self._attend(AttentionCall.of(*args, **keywords))
        if function is F.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **keywords)
        if function is F.linear and self._observe is None:
            return self._linear(*args, **keywords)
        eager = self._eager and self._eager.attention(function, args, keywords)
        if eager:
            call = _call_of_scores(eager.scores, eager.value)
            if self._observe is not None:  # they, and the result, are made where nothing is seen
                self._observe(function, args, keywords, (call.mask,))
                self._observe(Tensor.expand, (eager.given,), {}, call.value)
            output = self._attend(call)
            result = eager.laid_out(output)
            if self._observe is not None:
                self._observe(function, (*args, output), keywords, result)
            return result
        result = function(*args, **keywords)
        if self._eager is not None:
            self._eager.see(function, args, keywords, result)
        if self._observe is not None:
            self._observe(function, args, keywords, result)
        return result


def _call_of_scores(
    scores: Float[Tensor, "*batch queries keys"], value: Float[Tensor, "*batch keys dim"]
) -> AttentionCall:
    *batch, queries, keys = scores.shape
    query, key = scores.new_zeros(*batch, queries, 1), scores.new_zeros(*batch, keys, 1)
    return AttentionCall(query, key, value, scores, 1.0, False, False, eager=True)


def multi_head_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """As torch's function, from the same arguments; the attention weights that it may return carry nothing.

    Raises:
        ModelError: for what no ViT uses: extra keys (``add_bias_kv``, ``add_zero_attn``, static keys).
    """
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    extra = [name for name in ("bias_k", "bias_v", "static_k", "static_v") if given[name] is not None]
    if extra or given["add_zero_attn"]:
        raise ModelError(
            "attention by torch.nn.MultiheadAttention is understood without add_bias_kv, add_zero_attn and static "
            "keys only, and this model's has them; build it without"
        )
    inputs = given["query"], given["key"], given["value"]
    batched = inputs[0].ndim == 3
    if not batched:
        alike = inputs[0] is inputs[1] is inputs[2]
        query = inputs[0].unsqueeze(1)
        inputs = (query, query, query) if alike else (query, *(x.unsqueeze(1) for x in inputs[1:]))
    heads, batch = given["num_heads"], inputs[0].shape[1]
    query, key, value = (x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for x in _projected(inputs, given))
    mask = _mask(given, batch, heads, query.dtype)
    dropout = given["dropout_p"] if given["training"] else 0.0
    causal = given["is_causal"] and mask is None
    output = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, is_causal=causal)
    output = F.linear(output.permute(2, 0, 1, 3).flatten(2), given["out_proj_weight"], given["out_proj_bias"])
    output = output if batched else output.squeeze(1)
    if not given["need_weights"]:
        return output, None
    weights = attention_scores(
        AttentionCall.of(query.detach(), key.detach(), value, mask, is_causal=causal)
    ).softmax(-1)
    weights = weights.mean(dim=1) if given["average_attn_weights"] else weights
    return output, weights if batched else weights.squeeze(0)


def _projected(inputs: tuple[Tensor, Tensor, Tensor], given: dict[str, Any]) -> list[Tensor]:
    """q, k and v: by one product where they come from one tensor and one weight."""
    weight, bias = given["in_proj_weight"], given["in_proj_bias"]
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    if given["use_separate_proj_weight"]:
        weights = given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]
    elif inputs[0] is inputs[1] is inputs[2]:
        return list(F.linear(inputs[0], weight, bias).chunk(3, dim=-1))
    else:
        weights = weight.chunk(3)
    return [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _mask(given: dict[str, Any], batch: int, heads: int, dtype: torch.dtype) -> Tensor | None:
    """Attention and padding masks (boolean: True is left out) as one additive mask."""
    mask: Tensor | None = given["attn_mask"]
    padding: Tensor | None = given["key_padding_mask"]
    if mask is not None:
        mask = _additive(mask, dtype)
        mask = mask.unflatten(0, (batch, heads)) if mask.ndim == 3 else mask
    if padding is None:
        return mask
    padding = _additive(padding, dtype).reshape(batch, 1, 1, -1)
    return padding if mask is None else mask + padding


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)

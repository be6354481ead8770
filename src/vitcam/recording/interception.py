"""Sees, and may answer, every call of ``scaled_dot_product_attention`` inside a ``with``.

The interception is a ``torch.overrides.TorchFunctionMode``: it holds for the current thread and ends with
the ``with``.

Of models that never call it, the attention that they write out (a softmax, times values) is seen in its stead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.recording.call import AttentionCall
from vitcam.recording.multihead import multi_head_attention
from vitcam.recording.written_out import WrittenOut

_sdpa = F.scaled_dot_product_attention


Attend = Callable[[AttentionCall], Tensor]
Observe = Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], None]
Linear = Callable[..., Tensor]


def intercept(
    attend: Attend,
    observe: Observe | None = None,
    linear: Linear = F.linear,
    *,
    written_out: bool = False,
) -> contextlib.AbstractContextManager[object]:
    """Lets ``attend`` answer every attention call of the current thread inside a ``with``.

    Args:
        attend: gets the call, returns the attention output. ``lambda call: call.run()`` changes nothing.
        observe: told of every other function: what it is, its arguments, its keyword arguments and its result.
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
    return _Interception(attend, observe, linear, WrittenOut() if written_out else None)


class _Interception(TorchFunctionMode):
    def __init__(
        self, attend: Attend, observe: Observe | None, linear: Linear, written_out: WrittenOut | None
    ) -> None:
        super().__init__()
        self._written_out = written_out
        self._attend = attend
        self._observe = observe
        self._linear = linear

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if function is _sdpa:
            return self._attend(AttentionCall.of(*args, **keywords))
        if function is F.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **keywords)
        if function is F.linear and self._observe is None:
            return self._linear(*args, **keywords)
        written_out = self._written_out and self._written_out.attention(function, args, keywords)
        if written_out:
            call = _call_of_scores(written_out.scores, written_out.value)
            if self._observe is not None:  # they, and the result, are made where nothing is seen
                self._observe(function, args, keywords, (call.mask, call.value))
            output = self._attend(call)
            result = written_out.laid_out(output)
            if self._observe is not None:
                self._observe(function, (*args, output), keywords, result)
            return result
        result = function(*args, **keywords)
        if self._written_out is not None:
            self._written_out.see(function, args, keywords, result)
        if self._observe is not None:
            self._observe(function, args, keywords, result)
        return result


def _call_of_scores(
    scores: Float[Tensor, "*batch queries keys"], value: Float[Tensor, "*batch keys dim"]
) -> AttentionCall:
    *batch, queries, keys = scores.shape
    query, key = scores.new_zeros(*batch, queries, 1), scores.new_zeros(*batch, keys, 1)
    return AttentionCall(query, key, value, scores, 1.0, False, False, written_out=True)

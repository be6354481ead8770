"""Linear layers, and attention in bf16, at the speed of oneDNN: all that vitcam takes of torch's private kernels.

torch hands an fp32 matrix product on an x86 CPU to MKL, which on processors other than Intel's leaves half of
their vector width unused; oneDNN, to which torch hands convolutions and what its compiler makes of linear layers,
uses all of it. On a Zen 5 core: 105 against 240 GFLOP/s for the layers of a ViT-B, with the same fp32 arithmetic.

torch's fused attention multiplies by MKL, too, which on processors without matrix units (AMX) makes nothing of bf16.
Step by step, with maps that stay in the cache, softmax(q kᵀ) v takes half of its time on a Zen 5 core, for the 50 to
1,000 tokens of a ViT. In fp32, torch gives products of many small matrices to MKL whatever they are written as.

In bf16 and fp16 frozen weights are converted once (``lowered``), for bf16 into the layout that oneDNN works on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.recording.attention import AttentionCall
from vitcam.recording.interception import multi_head_attention
from vitcam.recording.lowered import LoweredWeights

_linear = F.linear
# Found once, since the compiler stumbles over the question.
_LINEAR_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and torch.backends.mkl.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
# A convolution first rearranges the weight: too much for few rows, for many it is soon made up for.
_FEW_ROWS, _MANY_ROWS = 64, 1024
_CHUNK_BYTES = 4 * 2**20  # of attention maps, per thread: what stays in the cache


def fast_linear() -> AbstractContextManager[object]:
    """Lets oneDNN compute the fp32 linear layers of the current thread inside a ``with``, where MKL would.

    Changes rounding only, and nothing where it wouldn't help: for weights that require a gradient, other
    devices, and torch without MKL or oneDNN. Gradients go back through frozen layers at the same speed, and only the
    weight is kept for them. Under autocast to bf16 or fp16, layers through which no gradient goes take weights that
    were converted once, which are kept in the memory.

    Example:
        >>> with torch.inference_mode(), fast_linear():
        ...     logits = model(images)
    """
    return _FastLinear()


def linear_layer(input: Float[Tensor, "*batch inputs"], weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One linear layer as :func:`fast_linear` computes it."""
    if _helps_linear(input, weight, bias):
        return _frozen_linear(input, weight, bias)
    if _can_be_lowered(input, weight, bias):
        return _lowered_linear(input, weight, bias)
    return _linear(input, weight, bias)


def transposed_linear(
    message: Float[Tensor, "*batch outputs"], weight: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "*batch inputs"]:
    """message · weight: what a linear layer's backward does to a gradient, at the speed of :func:`fast_linear`."""
    if _rows(message) < _FEW_ROWS or not _helps_linear(message, weight):
        return message @ weight
    # Not by oneDNN's linear layer, which is slower on a transposed weight.
    return _as_image(F.conv_transpose2d, message, weight, None)


class _FastLinear(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if function is _linear:
            return linear_layer(*args, **keywords)
        if function is F.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **keywords)
        return function(*args, **keywords)


def _helps_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    return bool(
        type(input) is Tensor
        and type(weight) in (Tensor, torch.nn.Parameter)
        and input.dim() > 1
        and weight.dim() == 2
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and not _gradients_go_to(weight, bias)
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and _LINEAR_AVAILABLE
        and (torch.compiler.is_compiling() or not torch._C._functorch.is_functorch_wrapped_tensor(input))
    )


def _gradients_go_to(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def _onednn_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # For oneDNN's linear layer the compiler wants constant weights.
    if _rows(input) >= _MANY_ROWS or torch.compiler.is_compiling():
        return _as_image(F.conv2d, input, weight, bias)
    output: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return output


def _rows(tokens: Float[Tensor, "*batch features"]) -> int:
    return tokens.shape[:-1].numel()


def _as_image(
    convolve: Callable[..., Tensor],
    tokens: Float[Tensor, "*batch before"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " after"] | None,
) -> Float[Tensor, "*batch after"]:
    """A product with the weight as a convolution of size 1×1 over an image of one column."""
    image = tokens.reshape(1, _rows(tokens), 1, -1).permute(0, 3, 1, 2)
    # The dilation of a single column changes nothing, but without it small batches wouldn't go to oneDNN.
    output = convolve(image, weight[:, :, None, None], bias, dilation=(1, 2))
    return output.permute(0, 2, 3, 1).reshape(*tokens.shape[:-1], -1)


class _FrozenLinear(torch.autograd.Function):
    """A frozen linear layer. Its backward is differentiable in its turn, as it is made of torch's functions."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        output = _onednn_linear(input, weight, bias)
        if torch.compiler.is_compiling() or not output._is_view():
            return output
        # No view, which models couldn't add to in place; of the same memory.
        return output.new_empty(0).set_(output)  # type: ignore[no-any-return,call-overload]  # torch knows it

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _some_rows(gradient, weight), None, None


def _some_rows(gradient: Float[Tensor, "*batch outputs"], weight: Tensor) -> Float[Tensor, "*batch inputs"]:
    """gradient · weight. In the block that the head reads from, often the class token alone has a gradient."""
    last = gradient.select(-2, -1)
    # Whoever differentiates the gradient needs the product of all rows.
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or last.any():
        return transposed_linear(gradient, weight)
    rows = gradient.flatten(0, -2)
    (some,) = rows.any(dim=1).nonzero(as_tuple=True)
    if 2 * len(some) > len(rows):
        return transposed_linear(gradient, weight)
    result = rows.new_zeros(len(rows), weight.shape[1])
    result[some] = transposed_linear(rows[some], weight)
    return result.view(*gradient.shape[:-1], -1)


def _frozen_linear(
    input: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*batch outputs"]:
    output: Tensor = _FrozenLinear.apply(input, weight, bias)
    return output


def _can_be_lowered(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return bool(
        torch.is_autocast_enabled("cpu")
        and type(input) is Tensor
        and type(weight) is torch.nn.Parameter
        and weight.dtype == torch.float32
        and weight.dim() == 2
        and weight.device.type == input.device.type == "cpu"
        and input.dtype in (torch.float32, torch.get_autocast_dtype("cpu"))
        and torch.get_autocast_dtype("cpu") in _LOWERED
        and not _gradients_go_to(input, weight, bias)
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_functorch_wrapped_tensor(input)
    )


def _lowered_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu")
    input, bias = input.to(dtype), None if bias is None else bias.to(dtype)
    if dtype == torch.bfloat16 and _PACKING_AVAILABLE and torch.backends.mkldnn.enabled:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(input, _packed.of(weight), bias, "none", [], "")
        return output
    return _linear(input, _LOWERED[dtype].of(weight), bias)


def _packing_available() -> bool:
    packing = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    )
    return bool(
        torch.backends.mkldnn.is_available() and packing and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _packed_weight(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16())
    return packed


_PACKING_AVAILABLE = _packing_available()
_packed = LoweredWeights(_packed_weight)
_LOWERED = {torch.bfloat16: LoweredWeights(Tensor.bfloat16), torch.float16: LoweredWeights(Tensor.half)}


def fast_attention(call: AttentionCall) -> Float[Tensor, "*batch queries value_dim"]:
    """Carries out a call, by oneDNN where that is faster than torch's own kernel; rounding differs.

    The fused kernel is kept for other precisions and devices, for masks, and where gradients go back through it.
    """
    if not _helps_attention(call):
        return call.run()
    query, key, value = call.query, call.key, call.value
    batch, heads, queries, _ = query.shape
    # As a fused kernel lays it out: models put the heads of a token side by side.
    output = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        # A score less the row's mean gives the same softmax, and is smaller, so that bf16 has finer steps for it.
        centred = key - key.mean(dim=-2, keepdim=True)
        for images, some, rows in _parts_of_call(batch, heads, queries, key.shape[-2]):
            scores = (query[images, some, rows] * call.scale) @ centred[images, some].mT
            output[images, some, rows] = torch.softmax(scores, dim=-1, out=scores) @ value[images, some]
    return output


def _helps_attention(call: AttentionCall) -> bool:
    tensors = (call.query, call.key, call.value)
    return bool(
        _ATTENTION_AVAILABLE
        and torch.backends.mkldnn.enabled
        and all(type(x) is Tensor and x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in tensors)
        and all(x.dim() == 4 and x.shape[:2] == call.query.shape[:2] for x in tensors)
        and not _gradients_go_to(*tensors)
        and call.mask is None
        and not call.is_causal
    )


def _attention_available() -> bool:
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return bool(both and torch.ops.mkldnn._is_mkldnn_bf16_supported() and not has_amx())


_ATTENTION_AVAILABLE = _attention_available()


def _parts_of_call(batch: int, heads: int, queries: int, keys: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cuts a call into images, heads and query rows whose maps are small."""
    rows = _CHUNK_BYTES * torch.get_num_threads() // (2 * keys)
    return product(_cut(batch, rows // (heads * queries)), _cut(heads, rows // queries), _cut(queries, rows))


def _cut(total: int, step: int) -> list[slice]:
    step = max(1, step)
    return [slice(start, start + step) for start in range(0, total, step)]

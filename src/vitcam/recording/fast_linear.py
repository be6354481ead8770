"""Linear layers at the speed of oneDNN.

torch hands an fp32 matrix product on an x86 CPU to MKL, which on processors other than Intel's leaves half of
their vector width unused; oneDNN, to which torch hands convolutions and what its compiler makes of linear layers,
uses all of it. On a Zen 5 core: 105 against 240 GFLOP/s for the layers of a ViT-B, with the same fp32 arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.recording.multihead import multi_head_attention

_linear = F.linear
# Found once, since the compiler stumbles over the question.
_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and torch.backends.mkl.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
# A convolution first rearranges the weight: too much for few rows, for many it is soon made up for.
_FEW_ROWS, _MANY_ROWS = 64, 1024


def fast_linear() -> AbstractContextManager[object]:
    """Lets oneDNN compute the fp32 linear layers of the current thread inside a ``with``, where MKL would.

    Changes rounding only, and nothing where it wouldn't help: for weights that require a gradient, other
    precisions, other devices, and torch without MKL or oneDNN. Gradients go back through frozen layers at the
    same speed, and only the weight is kept for them.

    Example:
        >>> with torch.inference_mode(), fast_linear():
        ...     logits = model(images)
    """
    return _FastLinear()


def transposed_linear(
    message: Float[Tensor, "*batch outputs"], weight: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "*batch inputs"]:
    """message · weight: what a linear layer's backward does to a gradient, at the speed of :func:`fast_linear`."""
    if _rows(message) < _FEW_ROWS or not _helps(message, weight):
        return message @ weight
    # Not by oneDNN's linear layer, which is slower on a transposed weight.
    return _as_image(F.conv_transpose2d, message, weight, None)


class _FastLinear(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if function is _linear and _helps(*args, **keywords):
            return _frozen_linear(*args, **keywords)
        if function is F.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **keywords)
        return function(*args, **keywords)


def _helps(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    return bool(
        type(input) is Tensor
        and type(weight) in (Tensor, torch.nn.Parameter)
        and input.dim() > 1
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and not (torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (weight, bias)))
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and _AVAILABLE
        and (torch.compiler.is_compiling() or not torch._C._functorch.is_functorch_wrapped_tensor(input))
    )


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
        return _onednn_linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return transposed_linear(gradient, weight), None, None


def _frozen_linear(
    input: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*batch outputs"]:
    output: Tensor = _FrozenLinear.apply(input, weight, bias)
    return output

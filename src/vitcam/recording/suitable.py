"""Which modules can be recorded at all, and why one that can't has failed."""

from __future__ import annotations

from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError, VitcamError


def check_model(model: nn.Module) -> None:
    """Makes sure that a model's inside can be looked at and that gradients can go through it.

    Raises:
        ModelError: it is a ``torch.jit`` module or a graph of ``torch.export``, on the meta device, or was made in
            inference mode.
    """
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                "a module of torch.jit can't be explained: its attention can't be seen. Give the nn.Module that it "
                "was made from"
            )
        if _is_exported(module):
            raise ModelError(
                "a graph of torch.export can't be explained: it is made of operations below torch's functions, among "
                "which its attention can't be seen, for images of the shape it was exported with. Give the nn.Module "
                "that it was made from"
            )
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise ModelError(
                f"{name} of {type(model).__name__} is on the meta device; load its weights first"
            )
        if tensor.is_inference():
            raise ModelError(
                f"{type(model).__name__} was made inside torch.inference_mode(), so that no gradient can go through "
                f"it ({name} is an inference tensor). Make or load it outside"
            )


def check_tensor(tensor: Tensor, model: nn.Module) -> None:
    """Makes sure that a tensor inside a model is one tensor, and not many under ``vmap``.

    Raises:
        ModelError: the model runs its attention inside ``torch.func.vmap`` or another transform.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise ModelError(_transformed(model))


def explain_failure(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], error: Exception
) -> VitcamError:
    """The error to raise in the place of what a model itself raised while it ran on images.

    Args:
        model: the model.
        images: what it ran on.
        error: what it raised. One of vitcam's own is kept.

    Example:
        >>> print(explain_failure(model, images[:, :1], RuntimeError("expected 3 channels")))
        VisionTransformer itself failed on images of shape (1, 224, 224) ... expected 3 channels. Give it ...
    """
    if isinstance(error, VitcamError):
        return error
    text = str(error)
    if any(word in text for word in ("functorch", "vmap", "BatchedTensor")):
        return ModelError(_transformed(model))
    advice = "Give it images of the size and channels that it was built for"
    if len(images) > 1:
        advice += "; if it takes one image at a time, pass batch_size=1"
    return ModelError(
        f"{type(model).__name__} itself failed on images of shape {tuple(images.shape[1:])} ({images.dtype}): "
        f"{text or type(error).__name__}. {advice}"
    )


def _is_exported(module: nn.Module) -> bool:
    """Whether a module is a graph of operations (aten's) instead of functions, as torch.fx traces them."""
    return isinstance(module, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
    )


def _transformed(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} runs its attention inside torch.func.vmap (or another transform of functions), as "
        "ensembles do: several models' attentions are one call there, in which none can be told from the others. "
        "Explain each member on its own, or call them one after another in a loop"
    )

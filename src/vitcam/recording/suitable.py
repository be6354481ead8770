"""Which modules can be recorded at all."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from vitcam.errors import ModelError


def check_model(model: nn.Module) -> None:
    """Makes sure that a model's inside can be looked at and that gradients can go through it.

    Raises:
        ModelError: it is a ``torch.jit`` module, on the meta device, or was made in inference mode.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "a module of torch.jit can't be explained: its attention can't be seen. Give the nn.Module that it was "
            "made from"
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

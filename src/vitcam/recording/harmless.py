"""The functions that leave attention weights as they are, between a softmax and its product with the values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _getter(name: str) -> Any:
    """What torch calls where a property of a tensor is read."""
    return vars(torch._C.TensorBase)[name].__get__


# What leaves the weights as they are, in another tensor. Of the type, only the precision may change.
SAME = frozenset(
    {
        Tensor.bfloat16,
        Tensor.clone,
        Tensor.contiguous,
        Tensor.cpu,
        Tensor.cuda,
        Tensor.detach,
        Tensor.double,
        Tensor.flatten,
        Tensor.float,
        Tensor.half,
        Tensor.requires_grad_,
        Tensor.reshape,
        Tensor.reshape_as,
        Tensor.squeeze,
        Tensor.to,
        Tensor.type,
        Tensor.type_as,
        Tensor.unflatten,
        Tensor.unsqueeze,
        Tensor.view,
        Tensor.view_as,
        torch.clone,
        torch.detach,
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unflatten,
        torch.unsqueeze,
    }
)
# What moves the axes.
MOVED = frozenset(
    {
        Tensor.adjoint,
        _getter("mH"),
        _getter("mT"),
        Tensor.moveaxis,
        Tensor.movedim,
        Tensor.permute,
        Tensor.swapaxes,
        Tensor.swapdims,
        Tensor.transpose,
        torch.adjoint,
        torch.moveaxis,
        torch.movedim,
        torch.permute,
        torch.swapaxes,
        torch.swapdims,
        torch.transpose,
    }
)
# What leaves the weights as they are if nothing is to be done, which is looked up. Explaining is deterministic,
# and so dropout is among them.
SAME_IF_EQUAL = frozenset(
    {
        F.alpha_dropout,
        F.dropout,
        F.feature_alpha_dropout,
        F.relu,
        Tensor.clamp,
        Tensor.clamp_min,
        Tensor.clip,
        Tensor.nan_to_num,
        Tensor.relu,
        torch.clamp,
        torch.clamp_min,
        torch.clip,
        torch.dropout,
        torch.nan_to_num,
        torch.relu,
    }
)

"""The methods that can be exported, over what one pass records: no loops over targets, whole maps at once.

Their options are those of ``vitcam.methods``, which checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vitcam.methods.tempercam import POWER


@dataclass(frozen=True)
class Layer:
    """One attention layer of a pass.

    Attributes:
        scores: S = q kᵀ · scale (+ mask), (batch, heads, tokens, tokens).
        probabilities: A = softmax(S).
        value: v, (batch, heads, tokens, dim).
        output: O = A v.
    """

    scores: Tensor
    probabilities: Tensor
    value: Tensor
    output: Tensor


_SIMILARITIES: dict[str, Callable[[Layer, int], Tensor]] = {
    "sigmoid": lambda layer, rows: layer.scores[:, :, :rows].sigmoid(),
    "softmax": lambda layer, rows: layer.probabilities[:, :, :rows],
    "none": lambda layer, rows: layer.scores[:, :, :rows],
}
_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": partial(torch.mean, dim=1),
    "max": partial(torch.amax, dim=1),
    "min": partial(torch.amin, dim=1),
}


def agcam(
    layers: Sequence[Layer],
    gradients: Sequence[Tensor],
    normalization: str = "sigmoid",
    positive: bool = True,
) -> Tensor:
    """Σ of ReLU(⟨g_i, v_j⟩) · sigmoid(S_ij): see ``vitcam.methods.agcam`` and ``sum_of_heads``."""
    return sum_of_heads(layers, gradients, _SIMILARITIES[normalization], positive)


def tempercam(
    layers: Sequence[Layer], gradients: Sequence[Tensor], power: float = POWER, positive: bool = True
) -> Tensor:
    """Σ of ReLU(⟨g_i, v_j⟩) · A_ij^power: see ``vitcam.methods.tempercam`` and ``sum_of_heads``."""
    return sum_of_heads(
        layers, gradients, lambda layer, rows: layer.probabilities[:, :, :rows].pow(power), positive
    )


def sum_of_heads(
    layers: Sequence[Layer],
    gradients: Sequence[Tensor],
    similarity_of: Callable[[Layer, int], Tensor],
    positive: bool,
) -> Tensor:
    """Σ over layers, heads and query rows of ⟨g_i, v_j⟩ · similarity_ij.

    Args:
        layers: that take part.
        gradients: per layer g = ∂y/∂O along the skip connections, (batch, targets, heads, rows, dim), of the
            first query rows; all others are zero.
        similarity_of: of a layer's first so many query rows.
        positive: whether negative gradients are left out.

    Returns:
        (batch, targets, tokens).
    """
    parts = []
    for layer, gradient in zip(layers, gradients, strict=True):
        targets, rows = gradient.shape[1], gradient.shape[3]
        of_heads = gradient.transpose(1, 2).flatten(2, 3)  # one product for all targets
        weight = (of_heads @ layer.value.transpose(-2, -1)).unflatten(2, (targets, rows))
        similarity = similarity_of(layer, rows)[:, :, None]
        parts.append(((weight.relu() if positive else weight) * similarity).sum(dim=(1, 3)))
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def attention(layers: Sequence[Layer], head_rows: Tensor, layer: int = -1) -> Tensor:
    """The row of a layer's attention that the head reads, mean over heads: (batch, 1, tokens)."""
    return (head_rows @ layers[layer].probabilities.mean(dim=1))[:, None]


def rollout(layers: Sequence[Layer], head_rows: Tensor, head_fusion: str = "mean") -> Tensor:
    """The row that the head reads of Π (fuse_h A + I)/2, from the last layer down: (batch, 1, tokens)."""
    row = head_rows.expand(layers[0].value.shape[0], 1, -1)
    for layer in reversed(layers):
        fused = _FUSIONS[head_fusion](layer.probabilities)
        share = row / (fused.sum(dim=-1)[:, None] + 1)
        row = share @ fused + share
    return row


FORWARD_ONLY: dict[str, Callable[..., Tensor]] = {"attention": attention, "rollout": rollout}

WITH_GRADIENTS: dict[str, Callable[..., Tensor]] = {"agcam": agcam, "tempercam": tempercam}

EXPORTABLE = {
    "agcam": ("layers", "normalization", "positive"),
    "tempercam": ("layers", "power", "positive"),
    "attention": ("layer",),
    "rollout": ("head_fusion",),
}
"""The methods that can be exported, and which of their options can differ from the default."""

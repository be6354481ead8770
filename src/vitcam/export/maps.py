"""The methods that can be exported, over what one pass records: no loops over targets, whole maps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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


def agcam(layers: Sequence[Layer], gradients: Sequence[Tensor]) -> Tensor:
    """Σ over layers, heads and query rows of ReLU(⟨g_i, v_j⟩) · sigmoid(S_ij): see ``vitcam.methods.agcam``.

    Args:
        layers: of the pass.
        gradients: per layer g = ∂y/∂O along the skip connections, (batch, targets, heads, rows, dim), of the
            first query rows; all others are zero.

    Returns:
        (batch, targets, tokens).
    """
    parts = []
    for layer, gradient in zip(layers, gradients, strict=True):
        targets, rows = gradient.shape[1], gradient.shape[3]
        of_heads = gradient.transpose(1, 2).flatten(2, 3)  # one product for all targets
        weight = (of_heads @ layer.value.transpose(-2, -1)).unflatten(2, (targets, rows)).relu()
        similarity = layer.scores[:, :, :rows].sigmoid()
        parts.append((weight * similarity[:, :, None]).sum(dim=(1, 3)))
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def attention(layers: Sequence[Layer], head_rows: Tensor) -> Tensor:
    """The row of the last layer's attention that the head reads, mean over heads: (batch, 1, tokens)."""
    return (head_rows @ layers[-1].probabilities.mean(dim=1))[:, None]


def rollout(layers: Sequence[Layer], head_rows: Tensor) -> Tensor:
    """The row that the head reads of Π (mean_h A + I)/2, from the last layer down: (batch, 1, tokens)."""
    row = head_rows.expand(layers[0].value.shape[0], 1, -1)
    for layer in reversed(layers):
        row = (row @ layer.probabilities.mean(dim=1) + row) / 2
    return row


FORWARD_ONLY: dict[str, Callable[[Sequence[Layer], Tensor], Tensor]] = {
    "attention": attention,
    "rollout": rollout,
}
EXPORTABLE = ("agcam", *FORWARD_ONLY)

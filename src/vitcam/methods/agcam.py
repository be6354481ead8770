"""Attention Guided CAM (Leem & Seo, AAAI 2024, arXiv 2402.04563)."""

from __future__ import annotations

import torch

from vitcam.methods.method import Method, TokenMap
from vitcam.recording import Need, Recording


def agcam(recording: Recording) -> TokenMap:
    """Gradients of the attention maps, along the skip connections, weight attention scores under a sigmoid.

    For a target's logit y and patch j::

        map_j = Σ_layers Σ_heads Σ_queries  ReLU(∂y/∂A_ij) · sigmoid(S_ij)

    with S = q kᵀ · scale before the softmax, and ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩. The gradient goes back along the
    skip connections, the MLPs and the head only: attention inputs are detached, as in the paper's Section 3.2.
    With a class token the gradient of every other query row is exactly zero.

    The paper is about models with a class token. Deviation for others: where the head averages tokens, all
    query rows take part by the same formula; an attention that pools the tokens for the head (SigLIP)
    counts as part of the head: the gradient passes through it, and its own map is one more layer.

    Returns:
        (batch, targets, patches), ≥ 0, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="agcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    assert recording.skip_gradients is not None
    patches = recording.layout.grid.patches
    batch, targets = recording.targets.shape
    total = torch.zeros(batch, targets, recording.layout.grid.tokens, device=recording.targets.device)
    for layer, gradient in zip(recording.layers, recording.skip_gradients, strict=True):
        value = layer.value[:, :, patches].to(gradient.dtype)
        for rows in layer.row_chunks(gradient.shape[-2], copies=targets):
            similarity = layer.scores(rows)[..., patches].float().sigmoid()
            for target in range(targets):
                weight = (gradient[:, target, :, rows] @ value.transpose(-2, -1)).float().relu_()
                total[:, target] += (weight * similarity).sum(dim=(1, 2))
    return total


METHOD = Method(
    compute=agcam,
    needs=lambda options: Need.SKIP_GRADIENT,
    summary="positive gradients along the skip connections × sigmoid of the attention scores, all layers",
    paper="arXiv 2402.04563",
)

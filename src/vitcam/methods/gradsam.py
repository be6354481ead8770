"""Grad-SAM (Barkan et al., CIKM 2021, arXiv 2204.11073)."""

from __future__ import annotations

import torch

from vitcam.methods.method import Method, TokenMap
from vitcam.methods.rows import read_rows, through_positive
from vitcam.recording import Need, Recording


def gradsam(recording: Recording) -> TokenMap:
    """Attention weighted by its own positive gradient: the class-token row, mean over layers and heads.

    ::

        map = class-token row of  mean_l mean_h ReLU(∂y/∂A) ⊙ A

    with the ordinary gradient, ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩; only the class-token row is ever computed.

    The paper is about language models. Without a class token the row is the mean over the tokens that the
    head reads; an attention that pools the tokens for the head (SigLIP) is one more layer, with its own row.

    Returns:
        (batch, targets, patches), ≥ 0, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="gradsam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    assert recording.gradients is not None
    maps = [
        through_positive(layer, gradient, read_rows(recording, layer))
        for layer, gradient in zip(recording.layers, recording.gradients, strict=True)
    ]
    return torch.stack(maps).mean(dim=0)[..., recording.layout.grid.patches]


METHOD = Method(
    compute=gradsam,
    needs=lambda options: Need.GRADIENT,
    summary="attention × its positive gradient, mean over all layers and heads",
    passes="forward, backward",
    paper="arXiv 2204.11073",
)

"""Attention Guided CAM (Leem & Seo, AAAI 2024, arXiv 2402.04563)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import chosen_layers, one_of
from vitcam.recording import Need, Recording

_NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=-1),
    "none": Tensor.float,
}


def agcam(
    recording: Recording,
    *,
    normalization: str = "sigmoid",
    skip_path: bool = True,
    positive: bool = True,
    layers: str | Sequence[int] = "all",
) -> TokenMap:
    """Gradients of the attention maps, along the skip connections, weight attention scores under a sigmoid.

    For a target's logit y and patch j::

        map_j = Σ_layers Σ_heads Σ_queries  ReLU(∂y/∂A_ij) · sigmoid(S_ij)

    with S = q kᵀ · scale before the softmax, and ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩. The gradient goes back along the
    skip connections, the MLPs and the head only: attention inputs are detached, as in the paper's Section 3.2.
    With a class token that the head reads alone, the gradient of every other query row is exactly zero. In distilled
    DeiT the head reads two tokens, the class and the distillation token, and both rows are summed.

    The paper is about models with a class token. Deviation for others: where the head averages tokens, all
    query rows take part by the same formula; an attention that pools the tokens for the head (SigLIP)
    counts as part of the head: the gradient passes through it, and its own map is one more layer.

    The options take the method apart; their defaults are the paper.

    Args:
        recording: with the gradient along the skip connections, or the ordinary one without ``skip_path``.
        normalization: of the scores S: "sigmoid", "softmax" over all keys (the attention itself), or "none".
        skip_path: False takes the ordinary gradient, through attention too. It reaches every query row of
            the layers below the last, and all of them are summed.
        positive: False leaves out the ReLU, so that negative gradients count against a patch.
        layers: which layers take part: "all", "last:K", "first:K" or a list of indices.

    Raises:
        MethodError: an option's value is wrong.

    Returns:
        (batch, targets, patches), ≥ 0 by default, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="agcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    one_of("agcam", "normalization", normalization, _NORMALIZATIONS)
    normalize = _NORMALIZATIONS[normalization]
    gradients = recording.skip_gradients if skip_path else recording.gradients
    assert gradients is not None
    grid, (batch, targets) = recording.layout.grid, recording.targets.shape
    total = torch.zeros(batch, targets, grid.tokens, device=recording.targets.device)
    for index in chosen_layers("agcam", layers, len(recording.layers)):
        layer, gradient = recording.layers[index], gradients[index]
        for rows in layer.row_chunks(gradient.shape[-2], copies=targets):
            similarity = normalize(layer.scores(rows).float())
            for target in range(targets):
                weight = layer.map_gradient(gradient[:, target, :, rows])
                product = (weight.relu_() if positive else weight) * similarity
                total[:, target] += product.sum(dim=(1, 2))[:, grid.patches]
    return total


METHOD = Method(
    compute=agcam,
    needs=lambda options: Need.SKIP_GRADIENT if options["skip_path"] else Need.GRADIENT,
    summary="positive gradients along the skip connections × sigmoid of the attention scores, all layers",
    passes="forward, replay of the class token",
    paper="arXiv 2402.04563",
)

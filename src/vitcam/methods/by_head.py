"""AGCAM before its sum: the map of every attention head of every layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.recording import Recording


def agcam_by_head(recording: Recording) -> Float[Tensor, "batch targets layers heads patches"]:
    """What each head of each layer adds to the map of ``agcam``.

    AGCAM is a sum over layers and heads (arXiv 2402.04563)::

        map_lhj = Σ_queries  ReLU(∂y/∂A_ij) · sigmoid(S_ij)        of layer l and head h
        agcam_j = Σ_l Σ_h map_lhj

    Args:
        recording: with the gradient along the skip connections.

    Raises:
        MethodError: the model is no plain ViT, or its layers have different numbers of heads.

    Returns:
        (batch, targets, layers, heads, patches), ≥ 0, in units of the score.

    Example:
        >>> from vitcam.methods.agcam import agcam
        >>> from vitcam.recording import Need, Score, record
        >>> recording = record(model, images, Score(lambda logits: logits.argmax(1, True)), Need.SKIP_GRADIENT)
        >>> agcam_by_head(recording).sum(dim=(2, 3)).allclose(agcam(recording))
        True
    """
    model = type(recording.model).__name__
    if recording.layout.obstacle:
        raise MethodError(f"AGCAM isn't defined for {model}: {recording.layout.obstacle}")
    if len(recording.layout.streams) > 1:
        raise MethodError(
            f"AGCAM's map of {model} can't be taken apart: it adds up over {len(recording.layout.streams)} streams "
            "of tokens of the image. vitcam.explain gives the whole map"
        )
    assert recording.skip_gradients is not None
    layers = list(zip(recording.layers, recording.skip_gradients, strict=True))
    heads = {gradient.shape[2] for _, gradient in layers}
    if len(heads) != 1:
        raise MethodError(
            f"{model} has layers with {', '.join(map(str, sorted(heads)))} heads, so "
            "its map can't be laid out by layer and head. agcam itself works: it sums over all of them"
        )
    grid, (batch, targets) = recording.layout.grid, recording.targets.shape
    maps = torch.zeros(batch, targets, len(layers), heads.pop(), grid.tokens, device=recording.targets.device)
    for index, (layer, gradient) in enumerate(layers):
        for rows in layer.row_chunks(gradient.shape[-2], copies=targets):
            similarity = layer.scores(rows).float().sigmoid()
            for target in range(targets):
                weight = layer.map_gradient(gradient[:, target, :, rows]).relu_()
                maps[:, target, index] += (weight * similarity).sum(dim=2)[..., grid.patches]
    return maps

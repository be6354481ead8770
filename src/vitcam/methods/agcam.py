"""Attention Guided CAM (Leem & Seo, AAAI 2024, arXiv 2402.04563)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import chosen_layers, one_of
from vitcam.recording import Attention, Need, Recording

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
        of_heads = _of_heads(recording.layers[index], gradients[index], grid.patches, normalize, positive)
        total += of_heads.sum(dim=2)
    return total


def agcam_by_head(recording: Recording) -> Float[Tensor, "batch targets layers heads patches"]:
    """AGCAM before its sum: what each head of each layer adds to the map of ``agcam``::

        map_lhj = Σ_queries  ReLU(∂y/∂A_ij) · sigmoid(S_ij)        of layer l and head h
        agcam_j = Σ_l Σ_h map_lhj

    Args:
        recording: with the gradient along the skip connections.

    Raises:
        MethodError: the model is no plain ViT, or its layers have different numbers of heads.

    Returns:
        (batch, targets, layers, heads, patches), ≥ 0, in units of the score.

    Example:
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
    pairs = list(zip(recording.layers, recording.skip_gradients, strict=True))
    heads = {gradient.shape[2] for _, gradient in pairs}
    if len(heads) != 1:
        raise MethodError(
            f"{model} has layers with {', '.join(map(str, sorted(heads)))} heads, so "
            "its map can't be laid out by layer and head. agcam itself works: it sums over all of them"
        )
    maps = [_of_heads(*pair, recording.layout.grid.patches, torch.sigmoid, positive=True) for pair in pairs]
    return torch.stack(maps, dim=2)


def _of_heads(
    layer: Attention,
    gradient: Tensor,
    patches: slice | list[int],
    normalize: Callable[[Tensor], Tensor],
    positive: bool,
) -> Float[Tensor, "batch targets heads patches"]:
    """Σ_queries ReLU(∂y/∂A_ij) · normalized S_ij, of each head of one layer."""
    maps = []
    for rows in layer.row_chunks(gradient.shape[-2], copies=gradient.shape[1]):
        similarity = normalize(layer.scores(rows).float())
        of_targets = []
        for target in range(gradient.shape[1]):
            weight = layer.map_gradient(gradient[:, target, :, rows])
            product = (weight.relu_() if positive else weight) * similarity
            of_targets.append(product.sum(dim=2)[..., patches])
        maps.append(torch.stack(of_targets, dim=1))
    return torch.stack(maps).sum(dim=0) if len(maps) > 1 else maps[0]


METHOD = Method(
    compute=agcam,
    needs=lambda options: Need.SKIP_GRADIENT if options["skip_path"] else Need.GRADIENT,
    kind="attention",
    summary="positive gradients along the skip connections × sigmoid of the attention scores, all layers",
    passes="forward, replay of the class token",
    paper="arXiv 2402.04563",
)

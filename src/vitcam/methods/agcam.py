"""Attention Guided CAM (Leem & Seo, AAAI 2024, arXiv 2402.04563)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.head_sums import Similarity, maps_by_head, sum_of_heads
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import one_of
from vitcam.recording import Need, Recording

_NORMALIZATIONS: dict[str, Similarity] = {
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
    rules: str = "plain",
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
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: an option's value is wrong, or there is no rule for a function that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0 by default, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="agcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("agcam", rules, recording)
    one_of("agcam", "normalization", normalization, _NORMALIZATIONS)
    gradients = recording.skip_gradients if skip_path else recording.gradients
    assert gradients is not None
    similarity = _NORMALIZATIONS[normalization]
    return sum_of_heads(recording, gradients, similarity, positive=positive, method="agcam", layers=layers)


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
    return maps_by_head(recording, torch.sigmoid, positive=True, method="AGCAM")


METHOD = Method(
    compute=agcam,
    needs=lambda options: Need.SKIP_GRADIENT if options["skip_path"] else Need.GRADIENT,
    kind="attention",
    summary="positive gradients along the skip connections × sigmoid of the attention scores, all layers",
    passes="forward, replay of the class token",
    paper="arXiv 2402.04563",
    by_rules=True,
)

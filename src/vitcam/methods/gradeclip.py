"""Grad-ECLIP (Zhao et al., ICML 2024): the values that raise the score, where queries meet keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import chosen_layers
from vitcam.recording import Attention, Need, Recording

_LAST = "last:1"


def grad_eclip(
    recording: Recording,
    *,
    layers: str | Sequence[int] = _LAST,
    similarity: bool = True,
    rules: str = "plain",
) -> TokenMap:
    """Values × the gradient of what attention gives, times the cosine of query and key in the place of attention.

    ::

        map_j = Σ_l ReLU( Σ_i λ_ij ⟨∂y/∂O_i, v_j⟩ ),   λ_i = cos(q_i, k_j), scaled to 0..1 over the patches j

    with all heads side by side as one vector. In the last layer of a model with a class token, i is that token alone,
    and the gradient is the ordinary one. The paper is about CLIP models and prompts: y is their similarity; here it
    is any score of any model.

    Deviation from the authors' notebooks (Cyang-Zhao/Grad-Eclip): these compute the layer that they look at with a
    single head of all channels, which changes what the model says. Here the model is as it is.

    Models without a class token: the sum over all rows, of which those that the head doesn't read have no gradient in
    the last layer. With rotary positions queries and keys are compared as they meet. An attention that pools the
    tokens for the head is the last layer.

    Args:
        recording: with whole attention layers, and gradients.
        layers: which layers take part: "all", "last:K", "first:K" or a list of indices.
        similarity: False leaves λ out, as the paper's ablation does.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: there is no such layer, its queries and keys aren't seen, or there is no rule for a function
            that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="grad-eclip").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("grad-eclip", rules, recording)
    # In the last layer the gradient along the skip connections is the ordinary one, and costs far less.
    gradients = recording.skip_gradients if layers == _LAST else recording.gradients
    assert gradients is not None
    patches = recording.layout.grid.patches
    total = torch.zeros(
        *recording.targets.shape, recording.layout.grid.tokens, device=recording.targets.device
    )
    for index in chosen_layers("grad-eclip", layers, len(recording.layers)):
        layer, gradient = recording.layers[index], gradients[index]
        if similarity and layer.call.eager:
            raise MethodError(
                f"grad-eclip isn't defined for {type(recording.model).__name__}: it computes attention step by step, "
                "so that its queries and keys aren't seen. Use grad-eclip(similarity=False)"
            )
        raised = torch.zeros_like(total)
        for rows in layer.row_chunks(gradient.shape[-2], copies=2):
            loosened = loosened_attention(layer, rows, patches) if similarity else None
            for target in range(total.shape[1]):
                change = layer.map_gradient(gradient[:, target, :, rows]).sum(dim=1)[..., patches]
                raised[:, target] += (change if loosened is None else change * loosened).sum(dim=1)
        total += raised.relu_()
    return total


def loosened_attention(
    layer: Attention, rows: slice, patches: slice | list[int]
) -> Float[Tensor, "batch rows patches"]:
    """The cosine of queries and keys, all heads side by side, each row scaled to 0..1 over the patches."""
    query, key = (each.float().transpose(1, 2).flatten(2) for each in (layer.call.query, layer.call.key))
    query, key = query[:, rows], key[:, patches]
    unit = torch.nn.functional.normalize
    cosine = unit(query, dim=-1) @ unit(key, dim=-1).transpose(-2, -1)
    low, high = cosine.aminmax(dim=-1, keepdim=True)
    return (cosine - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


def _needs(options: Mapping[str, Any]) -> Need:
    return Need.MAPS | Need.SKIP_GRADIENT if options["layers"] == _LAST else Need.GRADIENT


METHOD = Method(
    compute=grad_eclip,
    needs=_needs,
    kind="attention",
    summary="values that raise the score, by the cosine of query and key in the place of attention",
    passes="forward, backward in the last layer",
    paper="Zhao et al., ICML 2024",
    called="grad-eclip",
    by_rules=True,
)

"""Beyond Intuition (Chen et al., TMLR 2023), head by head: attention maps weighted by what each head matters."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import at_least, first_layer
from vitcam.methods.rows import TargetRows, read_rows
from vitcam.methods.tam import integrated_gradient
from vitcam.recording import Attention, Need, Recording


def bt(recording: Recording, *, start_layer: int = 0, steps: int = 20) -> TokenMap:
    """Attention carried down, each head by its share of what matters, times the last layer's integrated gradient.

    ::

        I_h = mean over i, j of |(A_hᵀ ∂y/∂A_h)_ij|,  Σ_h I_h = 1;   C_l = Σ_h I_h A_h
        r ← the class token's unit vector;   r ← r + r · C_l   for l = L … start_layer
        map_j = r_j · mean_h ReLU( mean over α of ∂y(α·x)/∂A_L )_j,   α = 0, 1/(steps−1), …, 1

    This is the variant of heads ("BT-H"); that of tokens reads the projection of the values, which a recording
    doesn't have. The formulas are those of the authors' code (jiaminchen-1031/transformerinterp), which leaves out
    the first three of a ViT's twelve layers (``start_layer=3``).

    Models without a class token: the mean over the rows that the head reads. An attention that pools the tokens for
    the head is the last layer, from whose rows r starts.

    Args:
        recording: with every layer's maps and gradients; its model is run again.
        start_layer: the lowest layer that takes part.
        steps: places on the way from zero to the image.

    Raises:
        MethodError: there is no such layer, or fewer than two steps.

    Returns:
        (batch, targets, patches), ≥ 0. Besides the recording's passes, ``steps`` forward passes, and a backward pass
        from the score to the last layer for each class.

    Example:
        >>> vitcam.explain(photo_model, photo, method="bt", start_layer=2, steps=4).method
        'bt(start_layer=2, steps=4)'
    """
    at_least("bt", "steps", steps, 2)
    layers, gradients = recording.layers, recording.gradients
    assert gradients is not None
    first = first_layer("bt", start_layer, len(layers))
    row: TargetRows | None = None
    for layer, gradient in list(zip(layers, gradients, strict=True))[first:][::-1]:
        start = read_rows(recording, layer)
        if row is None or layer.pooling:
            row = _carried(layer, gradient, start)
            row = row if layer.pooling else row + _padded(start, layer.keys)
        else:
            row = row + _carried(layer, gradient, row)
    assert row is not None
    maps = row * integrated_gradient(recording, steps)
    return maps[..., recording.layout.grid.patches]


def _padded(row: Tensor, tokens: int) -> Tensor:
    return torch.nn.functional.pad(row, (0, tokens - row.shape[-1]))


def _carried(
    layer: Attention,
    gradient: Float[Tensor, "batch targets heads queries dim"],
    row: TargetRows,
) -> TargetRows:
    """row · Σ_h I_h A_h of one layer."""
    maps = layer.probabilities()
    value = layer.value.float()
    each = []
    for target in range(row.shape[1]):
        # Aᵀ ∂y/∂A = (Aᵀ g) vᵀ, with g = ∂y/∂O
        product = maps.transpose(-2, -1) @ gradient[:, target].float() @ value.transpose(-2, -1)
        share = product.abs().mean(dim=(2, 3))
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-30)
        by_head = row[:, target, None, None, : layer.queries] @ maps
        each.append((share[:, :, None] * by_head[:, :, 0]).sum(dim=1))
    return torch.stack(each, dim=1)


METHOD = Method(
    compute=bt,
    needs=lambda options: Need.GRADIENT,
    kind="attention",
    summary="attention carried down, weighted by head, times the last layer's integrated gradient",
    passes="forward, backward, and steps × forward",
    paper="Chen et al., TMLR 2023",
    one_stream_only=True,
    many_passes=True,
)

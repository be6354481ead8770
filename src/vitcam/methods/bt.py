"""Beyond Intuition (Chen et al., TMLR 2023): attention, weighted by head or by what each token passes on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import at_least, first_layer, one_of
from vitcam.methods.rows import TargetRows, read_rows
from vitcam.methods.tam import integrated_gradient
from vitcam.recording import Need, Recording, Step, each_step

Carry = Callable[[int, TargetRows], TargetRows]


def bt(recording: Recording, *, kind: str = "heads", start_layer: int = 0, steps: int = 20) -> TokenMap:
    """Attention carried down, weighted by head or by token, times the last layer's integrated gradient.

    ::

        heads:   C_l = Σ_h I_h A_h,   I_h = mean over i, j of |(A_hᵀ ∂y/∂A_h)_ij|,  Σ_h I_h = 1
        tokens:  C_l = mean_h A · diag( ‖W v_j‖ / ‖x_j‖ )
        r ← the class token's unit vector;   r ← r + r · C_l   for l = L … start_layer
        map_j = r_j · mean_h ReLU( mean over α of ∂y(α·x)/∂A_L )_j,   α = 0, 1/(steps−1), …, 1

    with x_j the tokens that enter the block, v_j the values of all heads side by side, and W the weight of the
    projection behind attention, without its bias. The formulas are those of the authors' code
    (jiaminchen-1031/transformerinterp); "heads" is their BT-H and "tokens" their BT-T. Theirs leaves out the first
    three of a ViT's twelve layers for heads, and five for tokens (``start_layer=3`` and ``5``). Where a layer scales
    what attention adds (layer scale), which is in none of their models, that scale belongs to W.

    Models without a class token: the mean over the rows that the head reads. An attention that pools the tokens for
    the head is the last layer, from whose rows r starts; by tokens it has no weights.

    Args:
        recording: with every layer's maps, and for heads the gradients; its model is run again.
        kind: what is weighted, "heads" or "tokens".
        start_layer: the lowest layer that takes part.
        steps: places on the way from zero to the image.

    Raises:
        MethodError: there is no such layer or kind, or fewer than two steps; or by tokens, the model's blocks don't
            add to their tokens what attention's projection gives.

    Returns:
        (batch, targets, patches), ≥ 0. Besides the recording's passes, ``steps`` forward passes, and a backward pass
        from the score to the last layer for each class. By tokens, one forward pass more, and no other gradient.

    Example:
        >>> vitcam.explain(photo_model, photo, method="bt", start_layer=2, steps=4).method
        'bt(start_layer=2, steps=4)'
    """
    at_least("bt", "steps", steps, 2)
    one_of("bt", "kind", kind, ("heads", "tokens"))
    layers = recording.layers
    first = first_layer("bt", start_layer, len(layers))
    carried = _by_token(recording) if kind == "tokens" else _by_head(recording)
    row: TargetRows | None = None
    for index in range(first, len(layers))[::-1]:
        layer = layers[index]
        start = read_rows(recording, layer)
        if row is None or layer.pooling:
            row = carried(index, start)
            row = row if layer.pooling else row + _padded(start, layer.keys)
        else:
            row = row + carried(index, row)
    assert row is not None
    maps = row * integrated_gradient(recording, steps)
    return maps[..., recording.layout.grid.patches]


def _padded(row: Tensor, tokens: int) -> Tensor:
    return torch.nn.functional.pad(row, (0, tokens - row.shape[-1]))


def _by_head(recording: Recording) -> Carry:
    """row · Σ_h I_h A_h of a layer."""
    gradients = recording.gradients
    assert gradients is not None

    def carried(index: int, row: TargetRows) -> TargetRows:
        layer = recording.layers[index]
        maps, value = layer.probabilities(), layer.value.float()
        each = []
        for target in range(row.shape[1]):
            # Aᵀ ∂y/∂A = (Aᵀ g) vᵀ, with g = ∂y/∂O
            gradient = gradients[index][:, target].float()
            product = maps.transpose(-2, -1) @ gradient @ value.transpose(-2, -1)
            share = product.abs().mean(dim=(2, 3))
            share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-30)
            by_head = row[:, target, None, None, : layer.queries] @ maps
            each.append((share[:, :, None] * by_head[:, :, 0]).sum(dim=1))
        return torch.stack(each, dim=1)

    return carried


def _by_token(recording: Recording) -> Carry:
    """row · mean_h A · diag(‖W v‖ / ‖x‖) of a layer."""
    try:
        with recording.resumed() as model:
            ratios = each_step(model, recording.images, recording.layout, _ratio)
    except ModelError as error:
        raise MethodError(
            f"bt(kind='tokens') isn't defined for {type(recording.model).__name__}: {error}. bt(kind='heads') is"
        ) from error

    def carried(index: int, row: TargetRows) -> TargetRows:
        layer = recording.layers[index]
        moved = row.new_zeros(*row.shape[:2], layer.keys)
        for rows in layer.row_chunks():
            moved += row[..., rows] @ layer.probabilities(rows).mean(dim=1)
        return moved if layer.pooling else moved * ratios[index][:, None]

    return carried


def _ratio(step: Step) -> Float[Tensor, "batch tokens"]:
    ratio: Tensor = step.passed.norm(dim=-1) / step.before.norm(dim=-1).clamp_min(1e-8)
    return ratio


METHOD = Method(
    compute=bt,
    needs=lambda options: Need.MAPS if options["kind"] == "tokens" else Need.GRADIENT,
    kind="attention",
    summary="attention carried down, weighted by head or by token, times the last layer's integrated gradient",
    passes="forward, backward, and steps × forward",
    paper="Chen et al., TMLR 2023",
    one_stream_only=True,
    many_passes=True,
)

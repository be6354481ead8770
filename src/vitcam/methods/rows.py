"""Attention carried down from the rows that the head reads, one row vector instead of whole products."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.recording import Attention, Recording

TargetRows = Float[Tensor, "batch targets _tokens"]


def through(layer: Attention, row: TargetRows) -> TargetRows:
    """row · mean_h A of one layer, in chunks of query rows.

    A layer with fewer queries than keys (CaiT's class attention) has rows for the first tokens only; the
    other tokens stay as they are.
    """
    carried = row.clone()
    carried[..., : layer.queries] = 0
    for rows in layer.row_chunks():
        carried += row[..., rows] @ layer.probabilities(rows).mean(dim=1)
    return carried


def read_rows(recording: Recording, layer: Attention) -> TargetRows:
    """What stands for the class-token row of a layer: the share of each of its query rows.

    With a class token it is that token's unit vector. Where the head averages tokens, each of them has an
    equal share; so have the queries of an attention that pools the tokens for the head.
    """
    shape = (*recording.targets.shape, layer.queries)
    if layer.pooling:
        return recording.rows_read.new_full(shape, 1 / layer.queries)
    return recording.rows_read[..., : layer.queries].expand(shape)


def through_positive(
    layer: Attention, gradient: Float[Tensor, "batch targets heads queries dim"], row: TargetRows
) -> TargetRows:
    """row · mean_h ReLU(∂y/∂A ⊙ A) of one layer for every target, in chunks of query rows.

    Since A ≥ 0, that is the same as ReLU(∂y/∂A) ⊙ A.

    Args:
        layer: the attention layer, with all query rows.
        gradient: ∂y/∂O.
        row: a weight for each of the layer's query rows.
    """
    carried = row.new_zeros(*row.shape[:2], layer.keys)
    reached = (row != 0).flatten(0, 1).any(dim=0).nonzero().flatten().tolist()
    for rows in layer.row_chunks(reached[-1] + 1 if reached else 0, copies=2):
        maps = layer.probabilities(rows)
        for target in range(row.shape[1]):
            weighted = layer.map_gradient(gradient[:, target, :, rows]).relu_().mul_(maps)
            carried[:, target] += (row[:, target, None, None, rows] @ weighted).mean(dim=(1, 2))
    return carried

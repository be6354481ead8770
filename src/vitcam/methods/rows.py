"""Attention carried down from the rows that the head reads, one row vector instead of whole products."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.recording import Attention, Recording

Row = Float[Tensor, "batch tokens"]


def head_row(recording: Recording) -> tuple[Row, tuple[Attention, ...]]:
    """Where the attention that the head pays to the tokens starts, and the layers still below it.

    With a class token it is that token's unit vector. Where the head averages tokens, each has an equal
    share. Where an attention pools the tokens (SigLIP), it is that attention's own row, mean over heads,
    and the pooling layer is used up.
    """
    layers = recording.layers
    if recording.pools:
        return layers[-1].probabilities().mean(dim=(1, 2)), layers[:-1]
    batch = layers[0].call.query.shape[0]
    return recording.head_rows.expand(batch, -1), layers


def through(layer: Attention, row: Row) -> Row:
    """row · mean_h A of one layer, in chunks of query rows.

    A layer with fewer queries than keys (CaiT's class attention) has rows for the first tokens only; the
    other tokens stay as they are.
    """
    carried = row.clone()
    carried[:, : layer.queries] = 0
    for rows in layer.row_chunks():
        maps = layer.probabilities(rows).mean(dim=1)
        carried += (row[:, None, rows] @ maps).squeeze(1)
    return carried

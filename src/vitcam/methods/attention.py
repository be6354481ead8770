"""The attention of one layer, as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.recording import Attention, Need, Recording
from vitcam.types import sides

Query = str | int | Sequence[int]
Fuse = Callable[[Float[Tensor, "batch heads rows keys"]], Tensor]


def attention(
    recording: Recording, *, layer: int = -1, heads: str | Sequence[int] = "mean", query: Query = "head"
) -> TokenMap:
    """The class-token row of one layer's attention, mean over heads.

    It doesn't depend on the class: all targets of an image get the same map. Without a class token the row
    is the mean over the tokens that the head reads; where an attention pools them (SigLIP), that one is the
    last layer. With a query it is the row of a patch, or of any other token, instead. All heads of a layer, each by
    itself, are given by :func:`vitcam.attention_heads`.

    Args:
        recording: with whole attention maps.
        layer: which layer, from 0; negative counts from the last.
        heads: "mean" or "max" over the heads (of each row), or a list of those whose mean is taken.
        query: whose attention: "head", what the model's head reads; (row, column), a patch; or a number, a token
            of the sequence: 0 is the class token where that comes first. Negative ones count from the last.

    Raises:
        MethodError: there is no such layer, head, patch or token, or the layer has no query for it.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="attention", layer=5).method
        'attention(layer=5)'
        >>> vitcam.explain(model, images, method="attention(heads=[0, 3], query=(7, 7))").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    chosen = _layer(recording, layer)
    row = _attended(recording, chosen, query, _fusion(heads, chosen.call.query.shape[1]))
    return row.expand(-1, recording.targets.shape[1], -1)


def attention_by_head(recording: Recording, layer: int, query: Query) -> Float[Tensor, "batch heads patches"]:
    """The row of every head of a layer, each by itself; as for :func:`attention`."""
    return _attended(recording, _layer(recording, layer), query, lambda maps: maps)[:, 0]


def _layer(recording: Recording, layer: int) -> Attention:
    layers = recording.layers
    if type(layer) is not int or not -len(layers) <= layer < len(layers):
        raise MethodError(
            f"attention has no layer={layer!r}; this model's layers are 0 to {len(layers) - 1}, or negative "
            "from the last"
        )
    return layers[layer]


def _attended(
    recording: Recording, layer: Attention, query: Query, fuse: Fuse
) -> Float[Tensor, "batch targets_or_1 *heads patches"]:
    """The weighted mean of the rows of a query, heads fused row by row; one for all targets that read the same."""
    tokens = _weights(recording, layer, query)
    weights = tokens[..., : layer.queries]
    # Rows whose weight is zero aren't computed.
    parts = [
        torch.einsum("btr,b...rk->bt...k", weights[..., rows], fuse(layer.probabilities(rows)))
        for rows in layer.row_chunks()
        if weights[..., rows].any()
    ]
    carried = sum(parts[1:], start=parts[0]) if parts else fuse(layer.probabilities(slice(0, 1))).sum(-2) * 0
    if not parts:
        carried = carried[:, None].repeat_interleave(weights.shape[1], dim=1)
    if not layer.pooling:  # tokens without a query in this layer (CaiT's patches) stay as they are
        left = tokens[..., layer.queries :]
        carried[..., layer.queries :] += left[:, :, None] if carried.dim() == 4 else left
    return carried[..., recording.layout.grid.patches]


def _weights(
    recording: Recording, layer: Attention, query: Query
) -> Float[Tensor, "batch targets_or_1 rows"]:
    """The share of each token, or of each query of an attention that pools the tokens, in what is asked for."""
    if query == "head":
        if layer.pooling:
            return recording.images.new_full((len(recording.images), 1, layer.queries), 1 / layer.queries)
        return recording.rows_read
    token = _token(recording, query)
    if layer.pooling or token >= layer.queries:
        what = (
            "pools the tokens with queries of its own"
            if layer.pooling
            else f"has queries for the first {layer.queries} tokens only"
        )
        raise MethodError(
            f"attention has no query={query!r} in this layer, {layer.name or 'the model itself'}, which {what}. "
            "Give query='head' or another layer"
        )
    weights = torch.zeros(len(recording.images), 1, recording.layout.tokens, device=recording.images.device)
    weights[..., token] = 1.0
    return weights


def _token(recording: Recording, query: Query) -> int:
    """The number of a token in the sequence."""
    layout, grid = recording.layout, recording.layout.grid
    if type(query) is int and -layout.tokens <= query < layout.tokens:
        streams = {call.stream for call in layout.layers}
        if len(streams) > 1:
            raise MethodError(
                f"attention can't take the token query={query}: this model has {len(streams)} streams of tokens of "
                "the image, in which it isn't the same place. Give a patch, query=(row, column)"
            )
        return query % layout.tokens
    shape = grid.shape
    if isinstance(query, tuple | list) and len(query) == len(shape) and all(type(n) is int for n in query):
        patch, inside = 0, True
        for n, length in zip(query, shape, strict=True):
            inside = inside and -length <= n < length
            patch = patch * length + n % length
        if inside:
            return grid.order[patch] if grid.order else grid.prefix + patch
    raise MethodError(
        f"attention has no query={query!r}; give 'head', a patch (row, column) of {sides(shape)}, or a "
        f"token from 0 to {layout.tokens - 1} (negative: from the last)"
    )


def _fusion(heads: str | Sequence[int], count: int) -> Fuse:
    if heads == "mean":
        return lambda maps: maps.mean(dim=1)
    if heads == "max":
        return lambda maps: maps.amax(dim=1)
    if not isinstance(heads, str) and heads and all(type(n) is int and -count <= n < count for n in heads):
        chosen = sorted({head % count for head in heads})
        return lambda maps: maps[:, chosen].mean(dim=1)
    raise MethodError(
        f"attention can't use heads={heads!r}; give 'mean', 'max', or a list of heads from 0 to {count - 1} "
        "(negative: from the last)"
    )


METHOD = Method(
    compute=attention,
    needs=lambda options: Need.MAPS,
    kind="attention",
    summary="the class token's attention in one layer, mean over heads; or a patch's, or some heads'",
    passes="forward",
    paper="",
    class_specific=False,
    also_takes={"query": int},
)

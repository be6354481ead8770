"""Maps that add up over layers and heads: the gradient of attention × something of the attention scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import TokenMap
from vitcam.methods.options import chosen_layers
from vitcam.recording import Attention, Recording

Similarity = Callable[[Tensor], Tensor]
"""From scores S of query rows (…, keys) to what the gradient is multiplied with."""


def sum_of_heads(
    recording: Recording,
    gradients: Sequence[Tensor],
    similarity: Similarity,
    *,
    positive: bool,
    method: str,
    layers: str | Sequence[int],
) -> TokenMap:
    """Σ over layers, heads and query rows of ∂y/∂A_ij · similarity(S)_ij.

    Args:
        recording: whose layers they are.
        gradients: ∂y/∂O of each layer.
        similarity: of the scores.
        positive: whether negative gradients are left out.
        method: its name, for messages.
        layers: which take part, as for ``chosen_layers``.

    Raises:
        MethodError: there are no such layers.
    """
    grid, (batch, targets) = recording.layout.grid, recording.targets.shape
    total = torch.zeros(batch, targets, grid.tokens, device=recording.targets.device)
    for index in chosen_layers(method, layers, len(recording.layers)):
        of_heads = map_of_heads(recording.layers[index], gradients[index], grid.patches, similarity, positive)
        total += of_heads.sum(dim=2)
    return total


def maps_by_head(
    recording: Recording,
    similarity: Similarity,
    *,
    positive: bool,
    method: str,
    layers: str | Sequence[int] = "all",
) -> Float[Tensor, "batch targets layers heads patches"]:
    """The same along the skip connections before the sum over layers and heads; 0 for layers that take no part.

    Raises:
        MethodError: the model is no plain ViT, or its layers have different numbers of heads.
    """
    model = type(recording.model).__name__
    if recording.layout.obstacle:
        raise MethodError(f"{method} isn't defined for {model}: {recording.layout.obstacle}")
    if len(recording.layout.streams) > 1:
        raise MethodError(
            f"{method}'s map of {model} can't be taken apart: it adds up over {len(recording.layout.streams)} "
            "streams of tokens of the image. vitcam.explain gives the whole map"
        )
    assert recording.skip_gradients is not None
    pairs = list(zip(recording.layers, recording.skip_gradients, strict=True))
    heads = {gradient.shape[2] for _, gradient in pairs}
    if len(heads) != 1:
        raise MethodError(
            f"{model} has layers with {', '.join(map(str, sorted(heads)))} heads, so "
            f"its map can't be laid out by layer and head. {method} itself works: it sums over all of them"
        )
    chosen = chosen_layers(method, layers, len(pairs))
    maps = {
        index: map_of_heads(*pairs[index], recording.layout.grid.patches, similarity, positive)
        for index in chosen
    }
    nothing = torch.zeros_like(maps[chosen[0]])
    return torch.stack([maps.get(index, nothing) for index in range(len(pairs))], dim=2)


def map_of_heads(
    layer: Attention,
    gradient: Tensor,
    patches: slice | list[int],
    similarity: Similarity,
    positive: bool,
) -> Float[Tensor, "batch targets heads patches"]:
    """Σ_queries ∂y/∂A_ij · similarity(S)_ij, of each head of one layer."""
    maps = []
    for rows in layer.row_chunks(gradient.shape[-2], copies=gradient.shape[1]):
        similar = similarity(layer.scores(rows).float())
        of_targets = []
        for target in range(gradient.shape[1]):
            weight = layer.map_gradient(gradient[:, target, :, rows])
            product = (weight.relu_() if positive else weight) * similar
            of_targets.append(product.sum(dim=2)[..., patches])
        maps.append(torch.stack(of_targets, dim=1))
    return torch.stack(maps).sum(dim=0) if len(maps) > 1 else maps[0]

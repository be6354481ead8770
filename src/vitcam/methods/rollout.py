"""Attention Rollout (Abnar & Zuidema, ACL 2020, arXiv 2005.00928)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import one_of
from vitcam.recording import Attention, Need, Recording

_FUSIONS = {
    "mean": lambda maps: maps.mean(dim=1),
    "max": lambda maps: maps.amax(dim=1),
    "min": lambda maps: maps.amin(dim=1),
}


def rollout(recording: Recording, *, head_fusion: str = "mean", discard_ratio: float = 0.0) -> TokenMap:
    """Attention of all layers multiplied up, the skip connection counted as half of each layer.

    ::

        map = class-token row of  Ã_L · … · Ã_1,   Ã_l = (fuse_h A_l + I) / 2, each row divided by its sum

    computed as a row vector from the last layer down, so that no product of N×N maps is ever made.
    It doesn't depend on the class: all targets of an image get the same map. By default heads are fused by
    their mean and nothing is discarded: then rows sum to 1 as they are, and this is the paper.

    The options are those of the repository ``vit-explain``. Discarding sets the lowest entries of each image's
    fused map to 0, before the identity is added: ⌊discard_ratio · entries⌋ of them, over the whole map and not
    row by row; the class token's attention to itself, the map's first entry, is never set to 0, though it
    counts among the lowest if it is one. Two deviations from ``vit-explain``, which divides column j, instead
    of row j, by the sum of row j, and of a batch discards in its first image only.

    Without a class token the row is the mean over the tokens that the head reads, or the row of the
    attention that pools them (SigLIP), fused, discarded and divided by its sum likewise. In CaiT only the
    class-attention layers are seen.

    Args:
        recording: with whole attention maps.
        head_fusion: "mean", "max" or "min" over the heads.
        discard_ratio: the share of entries set to 0, from 0 to below 1.

    Raises:
        MethodError: an option's value is wrong.

    Returns:
        (batch, targets, patches), ≥ 0; with the prefix tokens' share each image's map sums to 1.

    Example:
        >>> vitcam.explain(model, images, method="rollout(head_fusion='max', discard_ratio=0.9)").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    one_of("rollout", "head_fusion", head_fusion, _FUSIONS)
    if not 0 <= discard_ratio < 1:
        raise MethodError(f"rollout takes a discard_ratio from 0 to below 1, not {discard_ratio!r}")
    has_class_token = recording.layout.grid.prefix > 0
    row = recording.rows_read
    for layer in reversed(recording.layers):
        fused = _fused(layer, head_fusion)
        if discard_ratio:
            fused = _without_lowest(fused, discard_ratio, keep_first=has_class_token and not layer.pooling)
        if layer.pooling:
            row = fused.mean(dim=1, keepdim=True)
            row = row / row.sum(dim=-1, keepdim=True)
            continue
        # Of a row of Ã, (a + e) / 2, divided by its sum, (Σa + 1) / 2.
        share = row[..., : layer.queries] / (fused.sum(dim=2) + 1)[:, None]
        carried = share @ fused
        carried[..., : layer.queries] += share
        carried[..., layer.queries :] += row[..., layer.queries :]
        row = carried
    return row[..., recording.layout.grid.patches].expand(-1, recording.targets.shape[1], -1)


def _fused(layer: Attention, head_fusion: str) -> Float[Tensor, "batch queries keys"]:
    """One map from those of all heads, which are made a chunk of rows at a time."""
    fuse = _FUSIONS[head_fusion]
    return torch.cat([fuse(layer.probabilities(rows)) for rows in layer.row_chunks()], dim=1)


def _without_lowest(
    maps: Float[Tensor, "batch queries keys"], ratio: float, *, keep_first: bool
) -> Float[Tensor, "batch queries keys"]:
    flat = maps.flatten(1)
    lowest = flat.topk(int(flat.shape[1] * ratio), dim=1, largest=False).indices
    kept = flat.scatter(1, lowest, 0.0)
    if keep_first:
        kept[:, 0] = flat[:, 0]
    return kept.reshape(maps.shape)


METHOD = Method(
    compute=rollout,
    needs=lambda options: Need.MAPS,
    kind="attention",
    summary="attention of all layers multiplied up, with skip connections",
    passes="forward",
    paper="arXiv 2005.00928",
    class_specific=False,
)

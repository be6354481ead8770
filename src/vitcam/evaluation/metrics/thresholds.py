"""Counts of pixels above many thresholds at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import MetricError

THRESHOLDS = tuple(step / 100 for step in range(100))


def threshold_counts(
    maps: Float[Tensor, "batch height width"],
    masks: Bool[Tensor, "batch height width"],
    thresholds: Float[Tensor, " thresholds"] | Sequence[float] = THRESHOLDS,
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> tuple[Int[Tensor, "batch thresholds"], Int[Tensor, "batch thresholds"]]:
    """For every threshold: how many pixels are strictly above it inside the mask, and in the whole image.

    One pass over the pixels, however many thresholds: each pixel is counted once under the number of
    thresholds that it exceeds.

    Args:
        maps: heatmaps in 0..1, as large as the masks.
        masks: the true regions.
        thresholds: ascending.
        ignore: pixels that count nowhere, such as the "void" border of VOC's masks.

    Raises:
        MetricError: the thresholds aren't ascending.

    Example:
        >>> maps = torch.tensor([[[0.1, 0.4], [0.6, 0.9]]])
        >>> threshold_counts(maps, maps > 0.5, [0.25, 0.5, 0.75])
        (tensor([[2, 2, 1]]), tensor([[3, 2, 1]]))
    """
    edges = torch.as_tensor(thresholds, dtype=maps.dtype, device=maps.device)
    if (edges.diff() < 0).any():
        raise MetricError(f"expected ascending thresholds, got {edges.tolist()}: sort them")
    exceeded = torch.bucketize(maps, edges)
    counted = torch.ones_like(masks) if ignore is None else ~ignore
    return _at_least(exceeded, counted & masks, len(edges)), _at_least(exceeded, counted, len(edges))


def _at_least(
    exceeded: Int[Tensor, "batch height width"], counted: Bool[Tensor, "batch height width"], thresholds: int
) -> Int[Tensor, "batch thresholds"]:
    batch = len(exceeded)
    row = torch.arange(batch, device=exceeded.device).view(-1, 1, 1) * (thresholds + 1)
    histogram = torch.bincount((exceeded + row)[counted], minlength=batch * (thresholds + 1))
    return histogram.view(batch, -1).flip(1).cumsum(1).flip(1)[:, 1:]

"""How much of a map it takes to say what it says: sparseness and entropy."""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.sanity_case import SanityCase


def sparseness(heatmaps: Float[Tensor, "batch rows columns"]) -> Float[Tensor, " batch"]:
    """The Gini index of each map's magnitudes, in 0..1, float64: 0 where all are alike, towards 1 for a single one.

    With the n magnitudes sorted, |a|_(1) ≤ … ≤ |a|_(n),

        G = Σ_k (2k − n − 1)·|a|_(k) / (n·Σ_k |a|_(k)).

    Source: Chalasani et al., ICML 2020, arXiv 1810.06583, as Quantus computes it, but for the 1e-7 that it adds to
    each magnitude. Of the map on the patch grid: upsampling would add nothing but pixels in between. 0 for a map of
    zeros.

    Example:
        >>> sparseness(torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]))
        tensor([0.7500, 0.0000], dtype=torch.float64)
    """
    magnitudes = heatmaps.double().flatten(1).abs().sort(dim=1).values
    count = magnitudes.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=magnitudes.device) - count - 1
    total = count * magnitudes.sum(1)
    return (weights * magnitudes).sum(1) / total.where(total > 0, 1.0)


def complexity(heatmaps: Float[Tensor, "batch rows columns"]) -> Float[Tensor, " batch"]:
    """The entropy of each map's share of heat, in 0..1, float64: 1 where all n values are alike, 0 for a single one.

        H = −Σ_i p_i·ln p_i / ln n,   p_i = |a_i| / Σ_j |a_j|.

    Source: Bhatt et al., IJCAI 2020, arXiv 2005.00631, as Quantus computes it, divided by the largest value that it
    can have, so that grids of other sizes compare. 1 for a map of zeros, which prefers no place.

    Example:
        >>> complexity(torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]))
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    magnitudes = heatmaps.double().flatten(1).abs()
    count = magnitudes.shape[1]
    total = magnitudes.sum(1, keepdim=True)
    shares = torch.where(total > 0, magnitudes / total.where(total > 0, 1.0), 1 / count)
    entropy: Tensor = torch.special.entr(shares).sum(1)
    return entropy / log(max(count, 2))


def measured(case: SanityCase) -> Numbers:
    """The columns of ``complexity``."""
    return {"sparseness": sparseness(case.on_grid), "complexity": complexity(case.on_grid)}

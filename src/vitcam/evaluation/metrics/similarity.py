"""How alike two maps of the same image are: SSIM and correlations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.metrics.correlation import correlation as pearson

WINDOW = 7
"""Side of SSIM's windows, in pixels."""

_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(
    maps: Float[Tensor, "batch height width"], others: Float[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """SSIM of each pair of maps in 0..1; 1 for the same map.

    With means μ, variances σ² and covariance σ_xy in each window of 7 × 7 pixels that lies inside the map,

        (2μ_x·μ_y + C₁)(2σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),  C₁ = 0.01², C₂ = 0.03²,

    then the mean over windows: what skimage computes by default for a range of 1.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861.

    Example:
        >>> maps = torch.rand(2, 32, 32)
        >>> structural_similarity(maps, maps)
        tensor([1., 1.])
    """
    x, y = maps.float(), others.float()
    pixels = WINDOW**2
    mean_x, mean_y, xx, yy, xy = (_windows(each) for each in (x, y, x * x, y * y, x * y))
    unbiased = pixels / (pixels - 1)
    var_x, var_y = unbiased * (xx - mean_x**2), unbiased * (yy - mean_y**2)
    covariance = unbiased * (xy - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return (luminance * structure).mean((1, 2))


def _windows(maps: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch rows columns"]:
    rows = F.avg_pool2d(maps.unsqueeze(1), (WINDOW, 1), stride=1)
    return F.avg_pool2d(rows, (1, WINDOW), stride=1).squeeze(1)


def correlation(
    maps: Float[Tensor, "batch rows columns"], others: Float[Tensor, "batch rows columns"]
) -> Float[Tensor, " batch"]:
    """Pearson's correlation of each pair of maps, in −1..1, float64.

    A constant map has none: 1 with another constant map, which claims the same, and 0 with any other.

    Example:
        >>> maps = torch.rand(2, 4, 4)
        >>> correlation(maps, -maps).round()
        tensor([-1., -1.], dtype=torch.float64)
    """
    both_constant = _is_constant(maps) & _is_constant(others)
    found = pearson(maps.flatten(1), others.flatten(1))
    return torch.where(both_constant, 1.0, found)


def _is_constant(maps: Float[Tensor, "batch rows columns"]) -> Bool[Tensor, " batch"]:
    return maps.amax((1, 2)) == maps.amin((1, 2))


def rank_correlation(
    maps: Float[Tensor, "batch rows columns"], others: Float[Tensor, "batch rows columns"]
) -> Float[Tensor, " batch"]:
    """Spearman's correlation of each pair of maps, in −1..1, float64: Pearson's of the ranks.

    Equal values share the mean of their ranks. Constant maps as for ``correlation``.

    Example:
        >>> maps = torch.rand(2, 4, 4)
        >>> rank_correlation(maps, maps.exp()).round()
        tensor([1., 1.], dtype=torch.float64)
    """
    return correlation(_ranks(maps), _ranks(others))


def _ranks(maps: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    values = maps.flatten(1).contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return ((below + up_to) / 2).double().view(maps.shape)

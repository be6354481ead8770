"""Pearson's correlation, of what may not vary at all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm


def correlation(
    first: Float[Tensor, "*rows points"], second: Float[Tensor, "*rows points"]
) -> Float[Tensor, "*rows"]:
    """Pearson's correlation coefficient of each row's points, in float64, −1..1; 0 where either is constant.

    Example:
        >>> correlation(torch.tensor([[1.0, 2, 3], [1, 2, 3]]), torch.tensor([[5.0, 7, 9], [4, 4, 4]])).round()
        tensor([1., 0.], dtype=torch.float64)
    """
    return (_unit(first.double()) * _unit(second.double())).sum(-1).clamp(-1, 1)


def _unit(points: Float[Tensor, "*rows points"]) -> Float[Tensor, "*rows points"]:
    """Centred, of length 1; zeros where all points are equal but for the rounding of their sums."""
    centred = points - points.mean(-1, keepdim=True)
    length = vector_norm(centred, dim=-1, keepdim=True)
    varies = length > 1e-12 * vector_norm(points, dim=-1, keepdim=True)
    return torch.where(varies, centred / torch.where(varies, length, 1.0), 0.0)

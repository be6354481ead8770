"""Noisy linear imputation: removed pixels become the weighted mean of their neighbours.

That is one sparse system of linear equations per image, with one unknown for every removed pixel. It is
solved for a whole batch at once by conjugate gradients with a multigrid preconditioner: a coarser grid sees
at once what would take the finest one as many iterations as the hole is wide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.errors import MetricError

Planes = Float[Tensor, "batch #channels height width"]
Levels = list[tuple[Float[Tensor, "_ _ _ _"], Float[Tensor, "_ _ _ _"]]]

_TOLERANCE = 1e-6
_ITERATIONS = 100
_COARSEST = 4


def linear_imputation(
    images: Float[Tensor, "batch channels height width"], removed: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch channels height width"]:
    """Replaces removed pixels so that each is the weighted mean of its eight neighbours.

    Neighbours weigh 1/6 along rows and columns and 1/12 across corners; outside the image there are none, and
    the weights of the others grow accordingly. Exact to about 1e-3 of the images' unit, a tenth of ROAD's
    noise.

    Source: Rong et al. 2022, ROAD, arXiv 2202.00449.

    Raises:
        MetricError: nothing is left of an image.

    Example:
        >>> image = torch.tensor([[0.0, 9.0, 1.0]]).expand(1, 3, 1, 3)
        >>> linear_imputation(image, torch.tensor([[[False, True, False]]]))[0, 0]
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    if removed.flatten(1).all(1).any():
        raise MetricError("an image of which every pixel is removed can't be imputed: keep at least one")
    unknown = removed.unsqueeze(1).to(images.dtype)
    known = images * (1 - unknown)
    levels = _levels(unknown)
    degree = levels[0][1]
    residual = unknown * _neighbours(known)
    enough = _TOLERANCE**2 * unknown.sum((2, 3), keepdim=True)
    solution = torch.zeros_like(images)
    step = direction = _preconditioned(residual, levels)
    energy = _dot(residual, step)
    for _ in range(_ITERATIONS):
        # A plane that has converged stands still, so that a result doesn't depend on the rest of its batch.
        running = _dot(residual, residual) > enough
        if not running.any():
            break
        image_of = unknown * (degree * direction - _neighbours(direction))
        length = torch.where(running, energy / _dot(direction, image_of), 0.0)
        solution = solution + length * direction
        residual = residual - length * image_of
        step = _preconditioned(residual, levels)
        previous, energy = energy, _dot(residual, step)
        direction = step + torch.where(running, energy / previous, 0.0) * direction
    return known + solution


def _levels(unknown: Planes) -> Levels:
    """Per grid, each half as fine as the one before: unknown cells, and what their neighbours weigh."""
    levels = []
    while True:
        inside = torch.ones_like(unknown[:1, :1])
        levels.append((unknown, _neighbours(inside)))
        if min(unknown.shape[2:]) <= _COARSEST:
            return levels
        unknown = -F.max_pool2d(-unknown, 2, ceil_mode=True)


def _preconditioned(residual: Planes, levels: Levels) -> Planes:
    """An approximate solution for a residual: one V-cycle, smoothed by Jacobi steps."""
    (unknown, degree), coarser = levels[0], levels[1:]
    solution = residual / degree
    if coarser:
        left = unknown * (residual - degree * solution + _neighbours(solution))
        coarse = _preconditioned(coarser[0][0] * _to_coarse(left), coarser)
        solution = solution + unknown * _to_fine(coarse, residual.shape)
    for _ in range(1 if coarser else 2 * _COARSEST):
        solution = solution + unknown * (residual - degree * solution + _neighbours(solution)) / degree
    return solution


def _neighbours(planes: Planes) -> Planes:
    """The weighted sum of the eight neighbours: ([1 2 1] ⊗ [1 2 1] without its middle) / 12."""
    columns = 2 * planes
    columns[..., 1:, :] += planes[..., :-1, :]
    columns[..., :-1, :] += planes[..., 1:, :]
    both = torch.sub(columns, planes, alpha=2).mul_(2)
    both[..., 1:] += columns[..., :-1]
    both[..., :-1] += columns[..., 1:]
    return both.div_(12)


def _to_coarse(planes: Planes) -> Float[Tensor, "batch _ rows columns"]:
    """Every second pixel along each side, with the weights [1 3 3 1] / 4."""
    return _halved(_halved(planes, 2), 3)


def _to_fine(planes: Float[Tensor, "batch _ rows columns"], shape: torch.Size) -> Planes:
    """The transpose of ``_to_coarse``, without which conjugate gradients wouldn't converge."""
    return _doubled(_doubled(planes, 2), 3)[..., : shape[2], : shape[3]]


def _halved(planes: Float[Tensor, "batch _ _ _"], dim: int) -> Float[Tensor, "batch _ _ _"]:
    padded = _padded(planes, dim, 1, 1 + planes.shape[dim] % 2)
    before, first, second, after = padded.unfold(dim, 4, 2).unbind(-1)
    return (first + second).mul_(0.75).add_(before + after, alpha=0.25)


def _doubled(planes: Float[Tensor, "batch _ _ _"], dim: int) -> Float[Tensor, "batch _ _ _"]:
    padded, near = _padded(planes, dim, 1, 1), 0.75 * planes
    sides = [near.add(padded.narrow(dim, start, near.shape[dim]), alpha=0.25) for start in (0, 2)]
    return torch.stack(sides, dim + 1).flatten(dim, dim + 1)


def _padded(
    planes: Float[Tensor, "batch _ _ _"], dim: int, low: int, high: int
) -> Float[Tensor, "batch _ _ _"]:
    return F.pad(planes, (0, 0, low, high) if dim == 2 else (low, high))


def _dot(a: Planes, b: Planes) -> Float[Tensor, "batch channels 1 1"]:
    return (a * b).sum((2, 3), keepdim=True)

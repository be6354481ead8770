"""Robustness: how far a map moves when the image hardly does."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.sanity_case import SanityCase


def by_largest(maps: Float[Tensor, "*some rows columns"]) -> Float[Tensor, "*some rows columns"]:
    """Each map divided by its largest magnitude, so that it lies in −1..1 and zero stays zero; float64.

    Example:
        >>> by_largest(torch.tensor([[[0.0, 2.0], [-4.0, 1.0]]])).tolist()
        [[[0.0, 0.5], [-1.0, 0.25]]]
    """
    values = maps.double()
    largest = values.abs().amax((-2, -1), keepdim=True)
    return values / largest.where(largest > 0, 1.0)


def max_sensitivity(
    maps: Float[Tensor, "maps rows columns"], near: Float[Tensor, "neighbours maps rows columns"]
) -> Float[Tensor, " maps"]:
    """max over neighbours x' of ‖φ(x') − φ(x)‖ / ‖φ(x)‖, float64; lower is better, 0 for a map that never moves.

    With φ the map divided by its largest magnitude, and the Euclidean norm.

    Source: Yeh et al., NeurIPS 2019, arXiv 1901.09392; divided by the map's norm as captum and Quantus do. For a map
    of zeros: the distance itself.

    Args:
        maps: of the images.
        near: the same of the same images, slightly changed.

    Example:
        >>> max_sensitivity(torch.ones(1, 2, 2), torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    moved, norms = _moved(maps, near), by_largest(maps).flatten(1).norm(dim=1)
    largest: Tensor = moved.amax(0) / norms.where(norms > 0, 1.0)
    return largest


def local_lipschitz(
    maps: Float[Tensor, "maps rows columns"],
    near: Float[Tensor, "neighbours maps rows columns"],
    distances: Float[Tensor, "neighbours maps"],
) -> Float[Tensor, " maps"]:
    """max over neighbours x' of ‖φ(x) − φ(x')‖ / ‖x − x'‖, float64; lower is better.

    With φ the map divided by its largest magnitude, Euclidean norms, and x what the model is given.

    Source: Alvarez-Melis and Jaakkola 2018, arXiv 1806.08049, as Quantus computes it, which draws Gaussian noise for
    x', where we take the neighbours that ``max_sensitivity`` has.

    Args:
        maps, near: as for ``max_sensitivity``.
        distances: ‖x − x'‖ of each neighbour; a map whose neighbour is the image itself has 0 there.

    Example:
        >>> local_lipschitz(torch.ones(1, 2, 2), torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]]), torch.tensor([[4.0]]))
        tensor([0.2500], dtype=torch.float64)
    """
    largest: Tensor = (_moved(maps, near) / (distances.double() + 1e-10)).amax(0)
    return largest


def _moved(
    maps: Float[Tensor, "maps rows columns"], near: Float[Tensor, "neighbours maps rows columns"]
) -> Float[Tensor, "neighbours maps"]:
    distance: Tensor = (by_largest(near) - by_largest(maps)).flatten(2).norm(dim=2)
    return distance


def measured_sensitivity(case: SanityCase) -> Numbers:
    """The column of ``max-sensitivity``."""
    return {"max_sensitivity": max_sensitivity(case.on_grid, case.neighbours.on_grid)}


def measured_lipschitz(case: SanityCase) -> Numbers:
    """The column of ``local-lipschitz``."""
    near = case.neighbours
    distances = (near.images - case.images).double().flatten(2).norm(dim=2).repeat(1, len(case.methods))
    return {"local_lipschitz": local_lipschitz(case.on_grid, near.on_grid, distances.to(near.on_grid.device))}

"""Shapley values of patches (Shapley 1953), by permutation sampling with antithetic pairs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, Sampled
from vitcam.methods.options import at_least, one_of
from vitcam.methods.passes import REMOVALS, generator_of, many_passes
from vitcam.methods.pixels import cells_of
from vitcam.recording import Need, Recording


def shapley(
    recording: Recording,
    *,
    budget: int = 1000,
    cells: int = 7,
    by: str = "pixels",
    output: str = "logit",
    seed: int = 0,
) -> Sampled:
    """How much the score rises when a cell of patches joins those before it, averaged over random orders.

    ::

        φ_g = mean over orders π of  y(before_π(g) ∪ g) − y(before_π(g));   map_j = φ_g / patches of g,  j ∈ g

    The map sums to y(x) − y(nothing), whatever the orders. Patches are joined to ``cells`` × ``cells`` cells, since
    an order costs a pass for each of them; ``cells`` of at least the grid's sides gives each patch its own. Each
    order is taken backwards, too, which makes the mean of the pair vary less (Mitchell et al. 2022, arXiv
    2104.12199); the standard error is that of the mean of the pairs.

    Source: Castro et al. 2009, doi 10.1016/j.cor.2008.04.004. On Vision Transformers: Covert et al. 2023, arXiv
    2206.05282, who hide patches from attention (``by="attention"``) and train a model to foretell the values.

    Args:
        recording: any; its model is run again.
        budget: forward passes for each image at most; all of its classes share them. A pair of orders takes
            2 · (number of cells − 1).
        cells: rows and columns of cells, at most those of patches.
        by: how patches are removed: "pixels" paints them over with 0, "tokens" leaves their tokens out in front of
            the first block, "attention" lets no token attend to them.
        output: what of a class is followed, "logit" or "probability".
        seed: of the orders, with the image's own values.

    Raises:
        MethodError: an option's value is wrong, the budget doesn't reach for two pairs of orders, or the model can't
            do without tokens.

    Returns:
        (batch, targets, patches), with standard errors.

    Example:
        >>> e = vitcam.explain(photo_model, photo, method="shapley", budget=70, cells=3)
        >>> e.heatmaps.shape, e.errors.shape
        (torch.Size([1, 1, 12, 12]), torch.Size([1, 1, 12, 12]))
    """
    at_least("shapley", "cells", cells, 1)
    at_least("shapley", "seed", seed, 0)
    one_of("shapley", "by", by, REMOVALS)
    cell = cells_of(recording.layout.grid, cells)
    count = int(cell.max()) + 1
    if count < 2:
        raise MethodError(
            "shapley needs at least two cells to share a score among; give more cells, such as 7"
        )
    at_least("shapley", "budget", budget, 2 + 4 * (count - 1), f" for {count} cells (two pairs of orders)")
    pairs = (budget - 2) // (2 * (count - 1))
    sizes = torch.bincount(cell)
    values, errors = [], []
    with many_passes(recording, output) as passes:
        whole = passes.untouched()
        for index, image in enumerate(recording.images):
            draw = generator_of(image, seed)
            orders = torch.stack([torch.randperm(count, generator=draw) for _ in range(pairs)])
            orders = torch.cat([orders, orders.flip(1)])
            joined = before(orders)[:, 1:].flatten(0, 1)  # the first of each is nothing
            nothing = torch.zeros(1, count, dtype=torch.bool)
            scores = passes.without(index, torch.cat([nothing, joined])[:, cell], by)
            each = _rises(scores[1:].unflatten(0, (2 * pairs, -1)), scores[0], whole[index], orders)
            each = each.unflatten(0, (2, pairs)).mean(dim=0) / sizes.to(each)  # pairs, targets, cells
            values.append(each.mean(dim=0)[:, cell])
            errors.append(each.std(dim=0)[:, cell] / math.sqrt(pairs))
    return Sampled(torch.stack(values), torch.stack(errors))


def before(orders: Int[Tensor, "orders cells"]) -> Bool[Tensor, "orders steps cells"]:
    """Which cells come before each step of an order.

    Example:
        >>> before(torch.tensor([[2, 0, 1]])).int().tolist()
        [[[0, 0, 0], [0, 0, 1], [1, 0, 1]]]
    """
    place = orders.argsort(dim=1)
    return place[:, None] < torch.arange(orders.shape[1])[None, :, None]


def _rises(
    joined: Float[Tensor, "orders steps targets"], nothing: Tensor, whole: Tensor, orders: Tensor
) -> Float[Tensor, "orders targets cells"]:
    ends = (end.expand(len(joined), 1, -1) for end in (nothing, whole))
    first, last = ends
    rises = torch.cat([first, joined, last], dim=1).diff(dim=1).transpose(1, 2)
    return torch.zeros_like(rises).scatter(2, orders.to(rises.device)[:, None].expand_as(rises), rises)


METHOD = Method(
    compute=shapley,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="mean rise of the score when a cell of patches joins those before it in random orders",
    passes="budget × forward",
    paper="doi 10.1016/j.cor.2008.04.004",
    plain_vit_only=False,
    many_passes=True,
)

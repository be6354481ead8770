"""Random sets of patches are removed: does a map's sum over them say how far the prediction falls?

Which patches are in a set hangs on no map, so that the perturbed images, and what the model makes of them, are the
same for all methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import MetricError
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.arranged import by_space
from vitcam.evaluation.metrics.cells import Grid, cells_of_pixels, heat_of_cells, in_cells
from vitcam.evaluation.metrics.correlation import correlation
from vitcam.evaluation.metrics.insertion_deletion import mean_fill
from vitcam.evaluation.metrics.maps import images_of
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, Removal, of_targets, removal_probabilities
from vitcam.recording import Precision

FRACTIONS = (0.1, 0.2, 0.4, 0.6, 0.8)
DRAWS = 30
_CORRELATED = 0.2


@dataclass(frozen=True)
class SubsetRemoval:
    """What a map says of random sets of patches, and how far the target class's probability falls without each.

    Attributes:
        fractions: of the patches, in a set.
        heat: the sum of the map's values over each set.
        falls: of the probability.
    """

    fractions: tuple[float, ...]
    heat: Float[Tensor, "heatmaps fractions draws"]
    falls: Float[Tensor, "heatmaps fractions draws"]

    @property
    def sensitivity_n(self) -> Float[Tensor, "heatmaps fractions"]:
        """Pearson's correlation of heat and falls over the sets of equal size, in −1..1; 0 for a constant map.

        Source: Ancona et al. 2018, arXiv 1711.06104. There n runs over pixels up to 80 % of them, in 16 steps of a
        logarithmic scale with 100 sets each, which become zero; here over patches, which become the mean colour.
        """
        return correlation(self.heat, self.falls)

    @property
    def faithfulness_correlation(self) -> Float[Tensor, " heatmaps"]:
        """The same correlation over the sets of one size, 20 % of the patches (or the nearest that there is).

        Source: Bhatt et al. 2020, arXiv 2005.00631, where the size of the sets is left open.
        """
        nearest = min(range(len(self.fractions)), key=lambda i: abs(self.fractions[i] - _CORRELATED))
        return self.sensitivity_n[:, nearest]

    @property
    def infidelity(self) -> Float[Tensor, " heatmaps"]:
        """The mean of (β·heat − fall)² over all sets, with the β ≥ 0 that makes it least; lower is better.

        Source: Yeh et al. 2019, arXiv 1901.09392: the expectation of (I·Φ − (f(x) − f(x − I)))², of a perturbation I
        that takes patches away, and as in the authors' code with I·Φ the sum of the values of what is removed, scaled
        by the best β: a map of tokens has no unit of its own. There β may be negative, which lets a map that is wrong
        everywhere score like the right one; here it then is 0. A map that says nothing scores the mean of fall².
        """
        heat, falls = self.heat.flatten(1), self.falls.flatten(1)
        squares = (heat * heat).sum(1, keepdim=True)
        scale = (heat * falls).sum(1, keepdim=True).clamp(min=0) / squares.where(squares > 0, 1.0)
        return (scale * heat - falls).square().mean(1)


def subset_removal(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, "heatmaps ..."],
    targets: Int[Tensor, " heatmaps"],
    fractions: Sequence[float] = FRACTIONS,
    draws: int = DRAWS,
    *,
    grid: Grid | None = None,
    seed: int = 0,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> SubsetRemoval:
    """Removes random sets of patches: infidelity, faithfulness correlation and sensitivity-n.

    For each fraction f, ``draws`` sets of n = round(f·patches) patches, at least one, are drawn without replacement,
    the same for every image. Their pixels become the image's mean colour. 1 + len(fractions)·draws forward passes per
    image, however many methods' heatmaps there are of it.

    Args:
        fractions: of the patches in a set, above 0 and below 1.
        draws: how many sets of each size; two or more.
        grid: of the patches, stretched over the image; None: the heatmaps' own.
        seed: of the draw.
        model, images, heatmaps, targets, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        MetricError: a fraction or the number of draws is out of range, or as from ``perturbation_curves``.
        ImageError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> removal = subset_removal(model, images, e.heatmaps[:, 0], e.targets[:, 0], (0.2, 0.5), draws=4)
        >>> removal.infidelity.shape, removal.sensitivity_n.shape
        (torch.Size([8]), torch.Size([8, 2]))
    """
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise MetricError(f"expected fractions between 0 and 1, such as {FRACTIONS}, got {tuple(fractions)}")
    if draws < 2:
        raise MetricError(f"expected two or more sets of each size, got draws={draws}")
    model, images = by_space(model, images)
    grid = grid or tuple(heatmaps.shape[1:])
    image_of_map = images_of(images, heatmaps, targets)
    values = heat_of_cells(heatmaps, grid)
    cell_of_pixel = cells_of_pixels(grid, tuple(images.shape[2:]))
    generator = torch.Generator().manual_seed(seed)
    cells = values.shape[1]
    sizes = [max(1, round(fraction * cells)) for fraction in fractions for _ in range(draws)]
    chosen = torch.zeros(len(sizes), cells, dtype=torch.bool)
    for members, size in zip(chosen, sizes, strict=True):
        members[torch.randperm(cells, generator=generator)[:size]] = True
    removals = []
    for image in range(len(images)):
        removals.append(Removal(image, False))
        removals += [Removal(image, partial(in_cells, cell_of_pixel, members)) for members in chosen]
    probabilities = removal_probabilities(
        model,
        images,
        mean_fill(images),
        removals,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    )
    scores = of_targets(probabilities.unflatten(0, (len(images), -1))[image_of_map], targets).double()
    heat = values @ chosen.double().T
    shape = (len(fractions), draws)
    falls = scores[:, :1] - scores[:, 1:]
    return SubsetRemoval(tuple(fractions), heat.unflatten(1, shape), falls.unflatten(1, shape))


def _of(case: PerturbationCase) -> SubsetRemoval:
    grid = tuple(case.on_grid.shape[1:])
    return case.once("subsets", lambda: subset_removal(**case.given, grid=grid, seed=case.seed))


def infidelity(case: PerturbationCase) -> Numbers:
    """The column of ``infidelity``."""
    return {"infidelity": _of(case).infidelity}


def faithfulness_correlation(case: PerturbationCase) -> Numbers:
    """The column of ``faithfulness-correlation``."""
    return {"faithfulness_correlation": _of(case).faithfulness_correlation}


def sensitivity_n(case: PerturbationCase) -> Numbers:
    """The columns of ``sensitivity-n``."""
    curve = _of(case).sensitivity_n
    return {"sensitivity_n": curve.mean(1), "sensitivity_n_curve": curve}

"""IROF: how soon is a prediction gone, when whole patches are removed?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isnan

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.arranged import by_space
from vitcam.evaluation.metrics.cells import Grid, cells_of_pixels, heat_of_cells, in_cells
from vitcam.evaluation.metrics.insertion_deletion import mean_fill
from vitcam.evaluation.metrics.maps import images_of, pixel_ranks
from vitcam.evaluation.metrics.predicted import is_predicted
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, Removal, of_targets, removal_probabilities
from vitcam.recording import Precision


@dataclass(frozen=True)
class Irof:
    """The target class's probability while more and more patches are removed, the most important first.

    Attributes:
        probabilities: from the untouched image to one without any patch.
        predicted: whether the target is what the model predicts of the untouched image; where classes don't exclude
            each other, whether its probability is above 1/2.
    """

    probabilities: Float[Tensor, "heatmaps points"]
    predicted: Bool[Tensor, " heatmaps"]

    @property
    def irof(self) -> Float[Tensor, " heatmaps"]:
        """The area over the curve p(k)/p(0), as a share of all; higher is better.

        NaN where the target isn't predicted: p(0), which everything is divided by, then is next to nothing.
        """
        points = self.probabilities.double()
        steps = points.shape[1] - 1
        over = 1 - torch.trapezoid(points / points[:, :1], dim=1) / steps
        return over.where(self.predicted, torch.nan)


def irof_curves(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, "heatmaps ..."],
    targets: Int[Tensor, " heatmaps"],
    steps: int = 10,
    *,
    grid: Grid | None = None,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Irof:
    """The curves of the Iterative Removal Of Features, and their area over the curve.

    At step k the ⌊patches·k/steps⌋ patches of the highest mean heat become the image's mean colour; equal ones go in
    reading order. steps − 1 forward passes per heatmap, and two per image.

    Source: Rieger & Hansen 2020, arXiv 2003.08747. There segments are SLIC's superpixels, removed one by one; here
    they are the patches, a ViT's own segments, and go in equal shares. ``steps`` as many as there are patches removes
    them one by one.

    Args:
        steps: in which all patches are removed.
        grid: of the patches, stretched over the image; None: the heatmaps' own.
        model, images, heatmaps, targets, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        ImageError, MetricError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> irof_curves(model, images, e.heatmaps[:, 0], e.targets[:, 0], steps=4).irof.shape
        torch.Size([8])
    """
    model, images = by_space(model, images)
    grid = grid or tuple(heatmaps.shape[1:])
    image_of_map = images_of(images, heatmaps, targets)
    ranks = pixel_ranks(heat_of_cells(heatmaps, grid).unsqueeze(1))
    cell_of_pixel = cells_of_pixels(grid, tuple(images.shape[2:]))
    sizes = [ranks.shape[1] * step // steps for step in range(1, steps)]
    removals = []
    for i, image in enumerate(image_of_map):
        removals.append(Removal(image, False))
        removals += [Removal(image, partial(in_cells, cell_of_pixel, ranks[i] < size)) for size in sizes]
        removals.append(Removal(image, True))
    probabilities = removal_probabilities(
        model,
        images,
        mean_fill(images),
        removals,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    ).unflatten(0, (len(image_of_map), -1))
    predicted = is_predicted(probabilities[:, 0], targets, multi_label)
    return Irof(of_targets(probabilities, targets), predicted)


def measured(case: PerturbationCase) -> Numbers:
    """The column of ``irof``; None where the class isn't predicted."""
    areas = irof_curves(**case.given, steps=case.steps, grid=tuple(case.on_grid.shape[1:])).irof
    return {"irof": [None if isnan(area) else area for area in areas.tolist()]}

"""SaCo: does a difference in heat mean a difference in influence?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.arranged import by_space
from vitcam.evaluation.metrics.correlation import correlation
from vitcam.evaluation.metrics.insertion_deletion import mean_fill
from vitcam.evaluation.metrics.maps import images_of, pixel_maps, pixel_ranks
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, Removal, of_targets, removal_probabilities
from vitcam.recording import Precision


@dataclass(frozen=True)
class GroupRemoval:
    """What becomes of the target class's probability when each group of equally hot pixels is removed alone.

    Attributes:
        heat: the mean of the min-maxed heatmap over each group, the hottest first.
        falls: of the probability without the group.
    """

    heat: Float[Tensor, "heatmaps groups"]
    falls: Float[Tensor, "heatmaps groups"]

    @property
    def saco(self) -> Float[Tensor, " heatmaps"]:
        """Of each heatmap, as :func:`saco` says."""
        return _coefficient(self.heat, self.falls)

    @property
    def estimate(self) -> Float[Tensor, " heatmaps"]:
        """The faithfulness estimate: Pearson's correlation of heat and falls, in −1..1; 0 for a constant map.

        Source: Alvarez-Melis & Jaakkola 2018, arXiv 1806.07538. There each feature is removed alone; here pixels go
        in as many groups as SaCo's, as in Quantus' ``FaithfulnessEstimate`` with ``features_in_step``.
        """
        return correlation(self.heat, self.falls)


def saco(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, "heatmaps ..."],
    targets: Int[Tensor, " heatmaps"],
    groups: int = 10,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Float[Tensor, " heatmaps"]:
    """The Salience-guided Faithfulness Coefficient of each heatmap, in −1..1, float64; higher is better.

    Pixels are sorted by heat into K groups G_1 (hottest) … G_K of equal size, each of which alone is replaced
    by the image's mean colour. With s_i the heat of a group and d_i the fall of the target class's
    probability,

        F = Σ_{i<j} ±(s_i − s_j) / Σ_{i<j} (s_i − s_j),   + where d_i ≥ d_j, − elsewhere.

    The heatmap is upsampled to the image (bilinear) and min-maxed, which leaves F as it is. K forward passes
    per heatmap, and one per image. s is the mean over the group, which where K divides the number of pixels
    gives the same F as the paper's sum. 0 for a constant map, which claims nothing.

    Source: Wu et al., CVPR 2024, "On the Faithfulness of Vision Transformer Explanations", arXiv 2404.01415.

    Args:
        targets: per heatmap, the class whose probability is followed; the predicted one in the paper.
        groups: K.
        model, images, heatmaps, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        ImageError, MetricError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> saco(model, images, e.heatmaps[:, 0], e.targets[:, 0]).shape
        torch.Size([8])
    """
    return group_removal(
        model,
        images,
        heatmaps,
        targets,
        groups,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    ).saco


def group_removal(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, "heatmaps ..."],
    targets: Int[Tensor, " heatmaps"],
    groups: int = 10,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> GroupRemoval:
    """What ``saco`` is made from, with its arguments."""
    model, images = by_space(model, images)
    maps = pixel_maps(heatmaps, tuple(images.shape[2:])).cpu()
    ranks = pixel_ranks(maps)
    image_of_map = images_of(images, heatmaps, targets)
    group = ranks * groups // ranks.shape[1]
    removals = []
    for i, image in enumerate(image_of_map):
        removals.append(Removal(image, False))
        removals += [Removal(image, partial(_members, group[i], number)) for number in range(groups)]
    probabilities = removal_probabilities(
        model,
        images,
        mean_fill(images),
        removals,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    )
    scores = of_targets(probabilities.unflatten(0, (len(image_of_map), groups + 1)), targets)
    falls = scores[:, :1] - scores[:, 1:]
    return GroupRemoval(_group_means(maps.flatten(1), group, groups), falls)


def _members(group: Int[Tensor, " pixels"], number: int) -> Bool[Tensor, " pixels"]:
    return group == number


def _group_means(
    maps: Float[Tensor, "batch pixels"], group: Int[Tensor, "batch pixels"], groups: int
) -> Float[Tensor, "batch groups"]:
    sums = maps.new_zeros(len(maps), groups, dtype=torch.float64).scatter_add_(1, group, maps.double())
    sizes = torch.bincount(group[0], minlength=groups).clamp(min=1)
    return sums / sizes


def _coefficient(
    heat: Float[Tensor, "batch groups"], falls: Float[Tensor, "batch groups"]
) -> Float[Tensor, " batch"]:
    hotter = (heat.unsqueeze(2) - heat.unsqueeze(1)).triu(diagonal=1)
    more_influential = falls.unsqueeze(2) >= falls.unsqueeze(1)
    agreement = torch.where(more_influential, hotter, -hotter).sum((1, 2))
    total = hotter.sum((1, 2))
    return agreement / total.where(total > 0, 1.0)


def _of(case: PerturbationCase) -> GroupRemoval:
    return case.once("saco", lambda: group_removal(**case.given))


def measured(case: PerturbationCase) -> Numbers:
    """The column of ``saco``."""
    return {"saco": _of(case).saco}


def estimated(case: PerturbationCase) -> Numbers:
    """The column of ``faithfulness-estimate``."""
    return {"faithfulness_estimate": _of(case).estimate}

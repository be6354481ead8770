"""What is left of an explanation when the image is seen through it: average drop, coherency, ADCC, ARCC."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.probabilities import class_probabilities, of_targets
from vitcam.evaluation.metrics.road import road_curves
from vitcam.evaluation.metrics.similarity import correlation
from vitcam.evaluation.sanity_case import SanityCase

ARCC_PERCENTILES = (20, 40, 60, 80)


def average_drop(whole: Float[Tensor, " maps"], masked: Float[Tensor, " maps"]) -> Float[Tensor, " maps"]:
    """max(0, y − o) / y, in 0..1: the part of the class's probability that is lost; lower is better.

    Source: Chattopadhay et al. 2018, Grad-CAM++, arXiv 1710.11063.

    Args:
        whole: y, the class's probability for the image.
        masked: o, for the image seen through the map: the model's input times the map in 0..1.

    Example:
        >>> average_drop(torch.tensor([0.8, 0.5]), torch.tensor([0.4, 0.6]))
        tensor([0.5000, 0.0000])
    """
    return (whole - masked).clamp(min=0) / whole.where(whole > 0, 1.0)


def average_increase(whole: Float[Tensor, " maps"], masked: Float[Tensor, " maps"]) -> Float[Tensor, " maps"]:
    """1 where the class's probability rises, o > y, else 0; its mean is the increase in confidence.

    Source and arguments as for ``average_drop``.

    Example:
        >>> average_increase(torch.tensor([0.8, 0.5]), torch.tensor([0.4, 0.6]))
        tensor([0., 1.])
    """
    return (masked > whole).to(whole)


def coherency(
    pixels: Float[Tensor, "maps height width"], masked: Float[Tensor, "maps height width"]
) -> Float[Tensor, " maps"]:
    """Pearson's correlation of each map with that of the image seen through it, moved to 0..1; higher is better.

    (ρ + 1) / 2, float64. 0 where one of the maps is constant, so that there is no ρ, as in the authors' code.

    Source: Poppi et al. 2021, arXiv 2104.10252.

    Args:
        pixels: maps in pixels, in 0..1.
        masked: of the image seen through each, by the same method and of the same class.

    Example:
        >>> maps = torch.rand(2, 8, 8)
        >>> coherency(maps, 1 - maps).round()
        tensor([0., 0.], dtype=torch.float64)
    """
    constant = torch.stack([(maps.amax((1, 2)) == maps.amin((1, 2))) for maps in (pixels, masked)]).any(0)
    return ((correlation(pixels, masked) + 1) / 2).masked_fill(constant, 0.0)


def harmonic_mean(*parts: Float[Tensor, " maps"]) -> Float[Tensor, " maps"]:
    """n / Σ 1/part, float64; 0 where a part is 0.

    Example:
        >>> harmonic_mean(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]))
        tensor([0.6667, 0.0000], dtype=torch.float64)
    """
    values = torch.stack([part.double().clamp(min=0) for part in parts])
    present = (values > 0).all(0)
    return (len(parts) / (1 / values.where(present, 1.0)).sum(0)).where(present, 0.0)


def adcc(
    drop: Float[Tensor, " maps"], coherent: Float[Tensor, " maps"], complexity: Float[Tensor, " maps"]
) -> Float[Tensor, " maps"]:
    """The harmonic mean of coherency, 1 − complexity and 1 − average drop, in 0..1; higher is better.

    Source: Poppi et al. 2021, arXiv 2104.10252, of each map, as in the authors' code; then the mean.

    Args:
        drop: the ``average_drop`` of each map.
        coherent: its ``coherency``.
        complexity: its mean in 0..1.

    Example:
        >>> adcc(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([0.5]))
        tensor([0.5000], dtype=torch.float64)
    """
    return harmonic_mean(coherent, 1 - complexity, 1 - drop)


def arcc(
    road_abpc: Float[Tensor, " maps"], coherent: Float[Tensor, " maps"], complexity: Float[Tensor, " maps"]
) -> Float[Tensor, " maps"]:
    """The harmonic mean of coherency, 1 − complexity and ROAD, in 0..1; higher is better.

    Source: ``ARCC`` of pip ``grad-cam`` (arXiv 2605.14641), which takes 2·ROADCombined, our ABPC of ROAD, at 20, 40,
    60 and 80 per cent, cut to 0..1. It adds 1e-8 to each part; here what has a part of 0 is 0.

    Args:
        road_abpc: LeRF − MoRF of ROAD, in −1..1.
        coherent: the ``coherency`` of each map.
        complexity: its mean in 0..1.

    Example:
        >>> arcc(torch.tensor([0.5, -0.2]), torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    return harmonic_mean(coherent, 1 - complexity, road_abpc)


def measured(case: SanityCase) -> Numbers:
    """The columns of ``adcc``; none where the model returns no logits."""
    if case.logits is None:
        return {}
    images = len(case.images)

    def probabilities(count: int, through: bool) -> Float[Tensor, " count"]:
        found = class_probabilities(
            case.model,
            lambda items: (
                case.through(slice(items.start, items.stop))
                if through
                else case.images[items.start : items.stop]
            ),
            count,
            multi_label=case.multi_label,
            precision=case.precision,
        )
        return of_targets(found, case.targets[:count].cpu())

    whole = probabilities(images, False).repeat(len(case.methods))
    masked = probabilities(len(case.heatmaps), True)
    drop, coherent, area = average_drop(whole, masked), coherency(case.pixels, case.masked).cpu(), _area(case)
    return {
        "adcc": adcc(drop, coherent, area),
        "average_drop": drop,
        "average_increase": average_increase(whole, masked),
        "coherency": coherent,
        "map_area": area,
    }


def measured_arcc(case: SanityCase) -> Numbers:
    """The column of ``arcc``; none where the model returns no logits."""
    if case.logits is None:
        return {}
    curves = road_curves(
        case.model,
        case.images,
        case.heatmaps,
        case.targets,
        ARCC_PERCENTILES,
        seed=case.seed,
        multi_label=case.multi_label,
        precision=case.precision,
    )
    return {"arcc": arcc(curves.abpc, coherency(case.pixels, case.masked).cpu(), _area(case))}


def _area(case: SanityCase) -> Float[Tensor, " heatmaps"]:
    """How much of the image a map covers, its mean in 0..1: what ADCC calls complexity."""
    return case.pixels.double().mean((1, 2)).cpu()

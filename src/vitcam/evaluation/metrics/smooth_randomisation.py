"""Smooth model parameter randomisation: the same test of maps that noise was averaged out of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.noise import normal_neighbours
from vitcam.evaluation.metrics.randomisation import similarities
from vitcam.evaluation.sanity_case import Maps, SanityCase

SAMPLES = 5
"""Versions of each image whose maps are averaged, the image itself among them."""

MAGNITUDE = 0.1
"""Standard deviation of their noise, as a share of the range of the image's values."""


def smoothed(maps: Sequence[Maps]) -> Maps:
    """The mean of maps of several versions of the images, each first divided by its largest magnitude.

    Example:
        >>> one = Maps(torch.ones(2, 4, 4), torch.ones(2, 4, 4), None)
        >>> smoothed([one, one]).heatmaps.max()
        tensor(1.)
    """
    heatmaps, on_grid = (
        torch.stack([_scaled(getattr(each, name)) for each in maps]).mean(0)
        for name in ("heatmaps", "on_grid")
    )
    return Maps(heatmaps, on_grid, None)


def _scaled(maps: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    largest = maps.abs().amax((1, 2), keepdim=True)
    return maps / largest.where(largest > 0, 1.0)


def smooth_similarities(
    case: SanityCase, samples: int = SAMPLES, magnitude: float = MAGNITUDE
) -> tuple[Float[Tensor, " heatmaps"], Float[Tensor, " heatmaps"]]:
    """SSIM and rank correlation between smoothed maps of the model and of one whose weights were all drawn anew.

    A map is smoothed by averaging it over noisy versions of the image, so that noise of the explanations, which
    differs between any two models, isn't mistaken for a dependence on the weights. 2·(samples − 1) explanations by
    all methods.

    Source: Hedström et al. 2024, "Sanity Checks Revisited", arXiv 2401.06465 (sMPRT), with 50
    versions, of which the last is the image, of maps of magnitudes, and at every layer; we keep signs, and compare
    with the fully random model alone.

    Args:
        case: whose maps.
        samples: versions of each image.
        magnitude: of the noise.
    """
    noisy = normal_neighbours(case.images, samples - 1, magnitude, case.seed)
    trained = smoothed([*(case.explain(images) for images in noisy), Maps(case.heatmaps, case.on_grid, None)])
    at_random = case.randomly
    model = case.random_model()
    randomised = smoothed([*(case.explain(images, model=model) for images in noisy), at_random])
    return similarities(case.with_maps(trained), randomised)


def measured(case: SanityCase) -> Numbers:
    """The columns of ``smooth-randomisation``."""
    ssim, rank = smooth_similarities(case)
    return {"smooth_ssim": ssim, "smooth_rank": rank}

"""Completeness: does a map add up to the score that it explains?"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import images_of
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, of_targets
from vitcam.evaluation.rows import ORACLE
from vitcam.methods import find_method
from vitcam.recording import Precision, autocast, fast_linear, logits_of, preserved


def completeness_error(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    sums: Float[Tensor, " heatmaps"],
    targets: Int[Tensor, " heatmaps"],
    *,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Float[Tensor, " heatmaps"]:
    """|Σ map − (y(x) − y(0))| of each heatmap, with y the target class's logit; float64, lower is better.

    It says something of methods only that claim to share out that difference: Integrated Gradients, GradientShap and
    Shapley values. One forward pass per image, and one for the image of
    zeros that these methods compare with.

    Source: Sundararajan et al. 2017, axiom of completeness, arXiv 1703.01365.

    Args:
        sums: of each heatmap's values: heatmap k is of image k mod images.
        batch_size: images in one forward pass.
        model, images, targets, precision: as for ``perturbation_curves``.

    Raises:
        MetricError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> completeness_error(model, images, torch.zeros(8), torch.zeros(8, dtype=torch.long)).shape
        torch.Size([8])
    """
    image_of_map = images_of(images, sums[:, None, None], targets)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    given = torch.cat([images, torch.zeros_like(images[:1])]).to(dtype).split(batch_size)
    with preserved(model), torch.no_grad(), autocast(images.device, precision), fast_linear():
        logits = torch.cat([logits_of(model(part)).double() for part in given]).cpu().clone()
    start = of_targets(logits[-1:].expand(len(targets), -1), targets)
    return (sums.cpu().double() - (of_targets(logits[image_of_map], targets) - start)).abs()


def measured(case: PerturbationCase) -> Numbers:
    """The column of ``completeness-error``; None for methods that don't claim to add up.

    Nor where heatmaps of means over pixels cover a part of the image only, which doesn't say of how many pixels.
    """
    claims = [_claim(name) for name in case.methods for _ in range(len(case.images))]
    if len(claims) != len(case.on_grid) or not any(claims):
        return {}
    pixels = math.prod(case.images.shape[2:]) / case.on_grid[0].numel()
    whole = case.heatmaps.shape == case.on_grid.shape
    weights = {"patches": 1.0, "pixels": pixels if whole else None, "": None}
    axes = tuple(range(1, case.on_grid.dim()))
    sums = case.on_grid.double().sum(axes).cpu() * torch.tensor([weights[claim] or 0.0 for claim in claims])
    errors = completeness_error(case.model, case.images, sums, case.targets, precision=case.precision)
    return {
        "completeness_error": [
            None if weights[claim] is None else error
            for claim, error in zip(claims, errors.tolist(), strict=True)
        ]
    }


def _claim(name: str) -> str:
    """What the method says adds up; the oracle, which no method makes, says nothing."""
    return "" if name == ORACLE else find_method(name)[0].adds_up

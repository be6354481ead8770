"""Model parameter randomisation: does the map change when the model forgets what it learned?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.similarity import rank_correlation, structural_similarity
from vitcam.evaluation.sanity_case import Maps, SanityCase


def similarities(
    case: SanityCase, maps: Maps
) -> tuple[Float[Tensor, " heatmaps"], Float[Tensor, " heatmaps"]]:
    """SSIM and rank correlation of a case's heatmaps with others of the same images.

    SSIM is of the maps in pixels, min-maxed to 0..1; the rank correlation of the values on the patch grid, with
    their signs.
    """
    ssim = structural_similarity(case.pixels, case.in_pixels(maps.heatmaps))
    return ssim.double(), rank_correlation(case.on_grid, maps.on_grid)


def randomisation_curves(case: SanityCase) -> dict[str, Float[Tensor, "heatmaps stages"]]:
    """How alike maps stay while the model's layers are randomised, SSIM and rank correlation, float64.

    ``cascade_…``: the head alone, then the layers below it too, down to the first (``randomising.STAGES`` steps in
    all); the target stays the class that the trained model predicts. ``layerwise_…``: each group of layers alone, all
    others as trained. One explanation per step by all methods, less one that both have.

    Source: Adebayo et al. 2018, arXiv 1810.03292; it goes down layer by layer, and takes initial weights where we
    take draws with the mean and standard deviation of the trained ones (see ``randomising.Twin``).

    Raises:
        ModelError: the model can't be copied.
    """
    count = case.stages
    head = similarities(case, case.explain(model=case.random_model([0])))
    cascade, layerwise = [head], [head]
    for deepest in range(1, count - 1):
        model = case.random_model(range(deepest + 1))
        cascade.append(similarities(case, case.explain(model=model)))
    if count > 1:
        cascade.append(similarities(case, case.randomly))
    for stage in range(1, count):
        layerwise.append(similarities(case, case.explain(model=case.random_model([stage]))))
    return {
        f"{kind}_{name}": torch.stack([pair[place] for pair in pairs], dim=1)
        for kind, pairs in (("cascade", cascade), ("layerwise", layerwise))
        for place, name in enumerate(("ssim", "rank"))
    }


def measured(case: SanityCase) -> Numbers:
    """The columns of ``randomisation``."""
    curves = randomisation_curves(case)
    means = {key: curve.mean(1) for key, curve in curves.items()}
    return {**means, **{f"{key}_curve": curve for key, curve in curves.items()}}

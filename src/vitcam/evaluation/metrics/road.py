"""ROAD: remove and debias, a perturbation test that doesn't give away where pixels were removed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import MetricError
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.imputation import linear_imputation
from vitcam.evaluation.metrics.maps import images_of, pixel_maps, pixel_ranks
from vitcam.evaluation.metrics.perturbation import Curves, columns_of
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, class_probabilities, of_targets
from vitcam.recording import Precision

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


def road_curves(
    model: nn.Module,
    images: Float[Tensor, "images channels height width"],
    heatmaps: Float[Tensor, "heatmaps rows columns"],
    targets: Int[Tensor, " heatmaps"],
    percentiles: Sequence[float] = PERCENTILES,
    *,
    noise: float = 0.01,
    seed: int = 0,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Curves:
    """MoRF and LeRF curves for which the k = ⌊pixels·p/100⌋ removed pixels are imputed from their neighbours.

    Black or grey pixels show the model the outline of what was removed, and so the heatmap's shape; imputed
    ones don't (``linear_imputation``, plus noise). 2·len(percentiles) forward passes per heatmap. Importance is
    the heatmap, upsampled to the image (bilinear); equal pixels go in reading order.

    The points are probabilities of the target class; the source takes the accuracy of a dataset, and
    ``pytorch_grad_cam``'s ROADCombined half of our ``abpc``, with logits or probabilities as its targets say.

    Source: Rong et al. 2022, arXiv 2202.00449.

    Args:
        percentiles: how much is removed, in per cent, between 0 and 100.
        noise: its standard deviation, in the unit of the normalised images.
        seed: of the noise, which is the same for every image and percentile.
        model, images, heatmaps, targets, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        MetricError: a percentile isn't between 0 and 100, or as from ``perturbation_curves``.
        ImageError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> road_curves(model, images, e.heatmaps[:, 0], e.targets[:, 0], percentiles=(50,)).abpc.shape
        torch.Size([8])
    """
    if not percentiles or not all(0 < percentile < 100 for percentile in percentiles):
        raise MetricError(
            f"expected percentiles between 0 and 100, such as {PERCENTILES}, got {tuple(percentiles)}"
        )
    height, width = images.shape[2], images.shape[3]
    ranks = pixel_ranks(pixel_maps(heatmaps, (height, width))).to(images.device)
    image_of_map = images_of(images, heatmaps, targets)
    pixels = ranks.shape[1]
    generator = torch.Generator().manual_seed(seed)
    noises = noise * torch.randn(images.shape[1:], generator=generator).to(images)
    counts = [int(pixels * percentile / 100) for percentile in percentiles]
    plan = [(i, count, most) for i in range(len(image_of_map)) for most in (True, False) for count in counts]

    def imputed(items: range) -> Float[Tensor, "items channels height width"]:
        chosen = [plan[item] for item in items]
        removed = torch.stack(
            [ranks[i] < count if most else ranks[i] >= pixels - count for i, count, most in chosen]
        ).view(-1, height, width)
        filled = linear_imputation(images[[image_of_map[i] for i, _, _ in chosen]], removed)
        return filled + noises * removed.unsqueeze(1)

    probabilities = class_probabilities(
        model, imputed, len(plan), multi_label=multi_label, precision=precision, batch_size=batch_size
    )
    points = of_targets(probabilities.unflatten(0, (len(image_of_map), 2, len(counts))), targets)
    return Curves(torch.tensor(percentiles, dtype=torch.float32) / 100, points[:, 0], points[:, 1])


def imputed_curves_of(case: PerturbationCase) -> Curves:
    """Those of a case, which several measures are made from."""
    return case.once("road", lambda: road_curves(**case.given, seed=case.seed))


def measured(case: PerturbationCase) -> Numbers:
    """The columns of ``road``."""
    return columns_of(imputed_curves_of(case), "road_")

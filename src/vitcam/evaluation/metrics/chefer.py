"""Chefer's perturbation test: how often is the model still right?"""

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
from vitcam.evaluation.metrics.maps import extreme_pixels, images_of, pixel_maps
from vitcam.evaluation.metrics.predicted import is_predicted
from vitcam.evaluation.metrics.probabilities import (
    BATCH_SIZE,
    Removal,
    class_probabilities,
    removal_probabilities,
)
from vitcam.recording import Precision

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Hits:
    """Whether the model still predicts the label, 1 or 0, while more and more of an image is black.

    Attributes:
        fractions: of the pixels that are black.
        positive: the most important pixels go first; lower is better.
        negative: the least important ones do; higher is better.
    """

    fractions: Float[Tensor, " points"]
    positive: Float[Tensor, "heatmaps points"]
    negative: Float[Tensor, "heatmaps points"]

    @property
    def auc_positive(self) -> Float[Tensor, " heatmaps"]:
        """The area under ``positive`` between the first fraction and the last, by trapezoids."""
        return torch.trapezoid(self.positive.double(), self.fractions.double(), dim=1)

    @property
    def auc_negative(self) -> Float[Tensor, " heatmaps"]:
        """The area under ``negative`` between the first fraction and the last, by trapezoids."""
        return torch.trapezoid(self.negative.double(), self.fractions.double(), dim=1)


def chefer_perturbation(
    model: nn.Module,
    images: Float[Tensor, "images 3 height width"],
    heatmaps: Float[Tensor, "heatmaps rows columns"],
    labels: Int[Tensor, " heatmaps"],
    black: Float[Tensor, "3 1 1"],
    fractions: Sequence[float] = FRACTIONS,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Hits:
    """Positive and negative perturbation by top-1 accuracy, as in the authors' code.

    At each fraction f the k = ⌊pixels·f⌋ most (positive) or least (negative) important pixels become black, 0
    *before* normalisation, and it is asked whether the model's first class is the label (of several labels, and of a
    single logit: whether its sigmoid is above 1/2). All images count, those too that the model is wrong about
    untouched. The mean over images is the accuracy that the paper draws. 2·len(fractions) forward passes per heatmap.

    The heatmap is upsampled to the image (bilinear); which of equal pixels go is up to ``torch.topk`` on the CPU. The
    authors' code prints the accuracies and leaves the area to the reader; the paper's is of "erasing between 10 % and
    90 % of the pixels", so at most 0.8 by trapezoids. Divide by 0.8 for the mean accuracy.

    Source: Chefer et al. 2021, arXiv 2012.09838.

    Args:
        labels: per heatmap, the image's true class, whichever class the heatmap explains.
        black: in the unit of the normalised images, (0 − mean) / standard deviation.
        fractions: between 0 and 1, ascending.
        model, images, heatmaps, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        MetricError: a fraction isn't between 0 and 1, or as from ``perturbation_curves``.
        ImageError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> black = torch.full((3, 1, 1), -1.0)
        >>> chefer_perturbation(model, images, e.heatmaps[:, 0], e.targets[:, 0], black, (0.5, 0.9)).positive.shape
        torch.Size([8, 2])
    """
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise MetricError(f"expected fractions between 0 and 1, such as {FRACTIONS}, got {tuple(fractions)}")
    image_of_map = images_of(images, heatmaps, labels)
    maps = pixel_maps(heatmaps, (images.shape[2], images.shape[3])).flatten(1).cpu()
    sizes = [int(maps.shape[1] * fraction) for fraction in fractions]
    removals = [
        Removal(image, partial(extreme_pixels, values, size))
        for importance, image in zip(maps, image_of_map, strict=True)
        for values in (importance, -importance)
        for size in sizes
    ]
    probabilities = removal_probabilities(
        model,
        images,
        black.to(images).expand(len(images), 3, 1, 1),
        removals,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    ).unflatten(0, (len(maps), 2, len(sizes)))
    hits = is_predicted(probabilities, labels, multi_label).float()
    return Hits(torch.tensor(fractions), hits[:, 0], hits[:, 1])


def measured(case: PerturbationCase) -> Numbers:
    """The columns of ``chefer-perturbation``: for heatmaps of the true class, and of the predicted one.

    Where the model is right they are the same heatmaps, and nothing is computed again.
    """
    if case.black is None or case.explained_again is None:
        return {}
    of_label = _of(case, case.images, case.heatmaps, case.targets)
    columns: dict[str, Tensor] = {}
    for name, hits in (("target", of_label), ("predicted", _of_predicted(case, of_label))):
        columns |= {
            f"chefer_positive_{name}": hits.positive,
            f"chefer_negative_{name}": hits.negative,
            f"chefer_auc_positive_{name}": hits.auc_positive,
            f"chefer_auc_negative_{name}": hits.auc_negative,
        }
    return columns


def _of_predicted(case: PerturbationCase, of_label: Hits) -> Hits:
    """The same of heatmaps of the predicted classes, for images that are predicted wrong."""
    count, methods = len(case.images), len(case.heatmaps) // len(case.images)
    labels = case.targets[:count].cpu()
    predicted = class_probabilities(
        case.model, lambda items: case.images[items.start : items.stop], count, precision=case.precision
    ).argmax(-1)
    wrong = (predicted != labels).nonzero()[:, 0]
    if not len(wrong):
        return of_label
    assert case.explained_again is not None
    places = wrong.tolist()
    again = case.explained_again(places, predicted[wrong])
    hits = _of(case, case.images[places], again, labels[wrong].repeat(methods))
    rows = (torch.arange(methods)[:, None] * count + wrong).flatten()
    return Hits(
        of_label.fractions,
        of_label.positive.index_copy(0, rows, hits.positive),
        of_label.negative.index_copy(0, rows, hits.negative),
    )


def _of(case: PerturbationCase, images: Tensor, heatmaps: Tensor, labels: Tensor) -> Hits:
    assert case.black is not None
    return chefer_perturbation(
        case.model,
        images,
        heatmaps,
        labels,
        case.black,
        multi_label=case.multi_label,
        precision=case.precision,
    )

"""Random logit: does the map change when another class is explained?"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.errors import MetricError
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.noise import generators_of
from vitcam.evaluation.metrics.randomisation import similarities
from vitcam.evaluation.sanity_case import SanityCase


def other_classes(
    images: Float[Tensor, "images 3 height width"], targets: Int[Tensor, " images"], classes: int, seed: int
) -> Int[Tensor, " images"]:
    """A class for each image that isn't its target: each of the others is as likely.

    Args:
        images: whose values seed the draw, each its own.
        targets: of each, the class that isn't to be drawn.
        classes: how many there are.
        seed: another one draws others.

    Raises:
        MetricError: there is no other class.

    Example:
        >>> targets = torch.zeros(8, dtype=torch.long)
        >>> other_classes(images, targets, classes=2, seed=0)
        tensor([1, 1, 1, 1, 1, 1, 1, 1])
    """
    if classes < 2:
        raise MetricError(f"expected a model of 2 classes or more, to draw another one from, got {classes}")
    steps = [int(torch.randint(1, classes, (), generator=each)) for each in generators_of(images, seed)]
    return (targets + torch.tensor(steps, device=targets.device)) % classes


def measured(case: SanityCase) -> Numbers:
    """The columns of ``random-logit``; none where there is no other class."""
    if case.logits is None or case.logits.shape[1] < 2:
        return {}
    targets = case.targets[: len(case.images)]
    others = other_classes(case.images, targets, case.logits.shape[1], case.seed)
    ssim, rank = similarities(case, case.explain(targets=others))
    return {"other_class_ssim": ssim, "other_class_rank": rank}

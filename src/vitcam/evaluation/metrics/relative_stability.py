"""Relative stability: how far a map moves, as a part of itself, for what the image, or the model's answer, moves."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.robustness import by_largest
from vitcam.evaluation.sanity_case import SanityCase

EPSILON = 1e-6
"""What stands for a zero below a fraction, and the smallest stability that has a logarithm."""


def relative_input_stability(
    maps: Float[Tensor, "maps rows columns"],
    near: Float[Tensor, "neighbours maps rows columns"],
    images: Float[Tensor, "images 3 height width"],
    near_images: Float[Tensor, "neighbours images 3 height width"],
    same: Bool[Tensor, "neighbours images"],
) -> list[float | None]:
    """RIS: max over neighbours x' of the same predicted class of ‖(φ(x) − φ(x')) / φ(x)‖ / ‖(x − x') / x‖.

    Quotients are value by value, zeros below them are ``EPSILON``; Euclidean norms, float64; lower is better. φ is
    the map on the patch grid, divided by its largest magnitude.

    Source: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", arXiv 2203.06877. Quantus
    computes the same of raw maps, and has no number at all where one neighbour's class is another; the source leaves
    that neighbour out, as we do, and None is left where all are.

    Args:
        maps: of the images; map k is of image k mod images.
        near: the same of the same images, slightly changed.
        images: what the model is given.
        near_images: the same, slightly changed.
        same: whether the model predicts the same class for them.

    Example:
        >>> x = torch.ones(1, 3, 1, 1)
        >>> ris = relative_input_stability(
        ...     *(torch.ones(1, 1, 2), torch.tensor([[[[1.0, 0.5]]]]), x, 1.1 * x[None], torch.tensor([[True]]))
        ... )
        >>> round(ris[0], 3)
        2.887
    """
    moved = _relative(images.double(), near_images.double()).flatten(2).norm(dim=2)
    return _largest(_relative(by_largest(maps), by_largest(near)), moved, same)


def relative_output_stability(
    maps: Float[Tensor, "maps rows columns"],
    near: Float[Tensor, "neighbours maps rows columns"],
    logits: Float[Tensor, "images classes"],
    near_logits: Float[Tensor, "neighbours images classes"],
    same: Bool[Tensor, "neighbours images"],
) -> list[float | None]:
    """ROS: max over neighbours x' of the same predicted class of ‖(φ(x) − φ(x')) / φ(x)‖ / ‖h(x) − h(x')‖.

    With the model's logits h; the rest, and the source, as for ``relative_input_stability``.

    Args:
        maps, near, same: as for ``relative_input_stability``.
        logits: of the images.
        near_logits: of the same images, slightly changed.

    Example:
        >>> h = torch.zeros(1, 2)
        >>> maps, near = torch.ones(1, 1, 2), torch.tensor([[[[1.0, 0.5]]]])
        >>> relative_output_stability(maps, near, h, h[None] + torch.tensor([3.0, 4.0]), torch.tensor([[True]]))
        [0.1]
    """
    moved = (logits.double() - near_logits.double()).norm(dim=2)
    return _largest(_relative(by_largest(maps), by_largest(near)), moved, same)


def _relative(one: Float[Tensor, "*shape"], near: Float[Tensor, neighbours * shape]) -> Tensor:
    return (one - near) / one.where(one != 0, EPSILON)


def _largest(
    change: Float[Tensor, "neighbours maps rows columns"],
    moved: Float[Tensor, "neighbours images"],
    same: Bool[Tensor, "neighbours images"],
) -> list[float | None]:
    changed = change.flatten(2).norm(dim=2).unflatten(1, (-1, moved.shape[1]))
    quotients = changed / moved.where(moved > 0, EPSILON).unsqueeze(1)
    largest = quotients.where(same.unsqueeze(1), -1.0).amax(0).flatten()
    return [value if value >= 0 else None for value in largest.tolist()]


def logarithms(stabilities: list[float | None]) -> list[float | None]:
    """Natural logarithms, as the source draws them: of what spans many powers of ten. Of ``EPSILON`` at least.

    Example:
        >>> logarithms([1.0, None])
        [0.0, None]
    """
    return [
        None if value is None else float(torch.tensor(max(value, EPSILON), dtype=torch.float64).log())
        for value in stabilities
    ]


def measured(case: SanityCase) -> Numbers:
    """The columns of ``relative-stability``; none where the model returns no logits."""
    near = case.neighbours
    if case.logits is None or near.logits is None:
        return {}
    same = near.logits.argmax(2) == case.logits.argmax(1)
    maps = (case.on_grid, near.on_grid)
    return {
        "log_ris": logarithms(relative_input_stability(*maps, case.images, near.images, same)),
        "log_ros": logarithms(relative_output_stability(*maps, case.logits, near.logits, same)),
    }

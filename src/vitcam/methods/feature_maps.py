"""What the CAM family shares: a feature map and its gradients at the patches, and what smooths a map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import one_of
from vitcam.recording import FeatureNeed, Features, Need, Recording
from vitcam.types import PatchGrid

Activation = Float[Tensor, "batch 1 patches channels"]
Gradient = Float[Tensor, "batch targets patches channels"]
Weighted = Float[Tensor, "batch _targets patches channels"]
Weigh = Callable[[Activation, Gradient], Weighted]

SMOOTHINGS = ("none", "eigen", "aug", "aug+eigen")
"""Values of the option ``smooth``."""

BRIGHTNESSES = (0.9, 1.0, 1.1)
"""What the images of ``smooth='aug'`` are multiplied with."""


def feature_method(
    compute: Callable[..., TokenMap],
    summary: str,
    paper: str,
    *,
    needs: Callable[[Mapping[str, Any]], FeatureNeed] | None = None,
    **more: Any,
) -> Method:
    """The declaration of a method of the family.

    Args:
        compute, summary, paper: of the method.
        needs: from its options to the feature map; None: at its options ``layer`` and ``at``, with the gradient.
        **more: of :class:`Method`.
    """
    return Method(
        **{
            "compute": compute,
            "needs": lambda options: Need.NOTHING,
            "features": needs or (lambda options: FeatureNeed(options["layer"], options["at"])),
            "kind": "feature maps",
            "summary": summary,
            "passes": "forward, backward",
            "paper": paper,
            "plain_vit_only": False,
            "one_stream_only": True,
            "also_takes": {"layer": str},
            **more,
        }
    )


def weighted_map(
    recording: Recording,
    name: str,
    need: FeatureNeed,
    weigh: Weigh,
    smooth: str,
    rules: str = "plain",
    *,
    positive: bool = True,
) -> TokenMap:
    """Σ_c of weighted activations, or what ``smooth`` makes of them.

    Args:
        recording: with the feature map.
        name: of the method, for messages.
        need: which feature map.
        weigh: from activations and gradients to weighted activations.
        smooth: one of ``SMOOTHINGS``: "eigen" is the first principal component of the weighted activations in the
            place of their sum, its sign such that the two go together; "aug" is the mean map of six images, the image
            and its mirror image, each as it is and multiplied by 0.9 and 1.1; "aug+eigen" is both.
        rules: by which gradients came back.
        positive: whether a ReLU ends the formula.

    Raises:
        MethodError: there is no such smoothing, the recording is by other rules, or what is needed isn't there;
            see :func:`features_at`.
    """
    one_of(name, "smooth", smooth, SMOOTHINGS)
    check_rules(name, rules, recording)

    def of(recording: Recording) -> TokenMap:
        found = features_at(recording, name, need)
        weighted = weigh(found.by_patch[:, None], found.gradient_by_patch)
        total = weighted.sum(dim=-1)
        maps = first_component(weighted, along=total) if "eigen" in smooth else total
        return maps.relu() if positive else maps

    return augmented(recording, name, need, of) if smooth.startswith("aug") else of(recording)


def features_at(recording: Recording, name: str, need: FeatureNeed) -> Features:
    """The feature map that a method asked for.

    Args:
        recording: with the feature map.
        name: of the method, for messages.
        need: what it asked for.

    Raises:
        MethodError: the model gives nothing of each image there, which of its values is which place couldn't be
            confirmed, or the score doesn't depend on the patches there.
    """
    found, kind = recording.features.get(need), type(recording.model).__name__
    if found is None:
        raise MethodError(f"{name} isn't defined for {kind}: {_missing(need)}. {_OTHERS}")
    if found.grid is None:
        raise MethodError(
            f"{name} isn't defined for {kind}: {need.point} gives {tuple(found.activation.shape[1:])} per image, and "
            f"which of these values is which place of the image couldn't be confirmed. {_OTHERS}"
        )
    if need.gradient:
        _check_reached(found.gradient_by_patch, recording, name, need)
    return found


_OTHERS = "captum:Saliency and its like work on any model"


def _missing(need: FeatureNeed) -> str:
    block = "its last block" if need.layer == -1 else f"its block {need.layer}"
    if isinstance(need.layer, str):
        return f"{need.layer} isn't called exactly once, or gives no tensor with a row for each image"
    if need.at == "block":
        return f"{block} gives no tensor with a row for each image"
    which = "second normalisation layer of its own" if need.at == "norm2" else "normalisation layer"
    return f"no {which} was called in {block}"


def _check_reached(gradient: Gradient, recording: Recording, name: str, need: FeatureNeed) -> None:
    """A map of zeros is no map if it is one because nothing that is behind the point reads the patches."""
    unreached = ((gradient == 0).flatten(2).all(dim=2)).nonzero()
    if not len(unreached):
        return
    image, target = unreached[0].tolist()
    score = recording.score.called(int(recording.targets[image, target]))
    where, instead = (
        ("that norm comes", "agcam, gae and legrad explain such models")
        if need.at == "norm1" and not isinstance(need.layer, str)
        else (
            "it comes",
            "Choose an earlier point by layer= or at=; agcam, gae and legrad explain such models",
        )
    )
    raise MethodError(
        f"{name} isn't defined for {type(recording.model).__name__}: {score} doesn't depend on the patches at "
        f"{need.point} (their gradient is exactly zero, image {image} of the batch). So it is where {where} behind "
        "the last attention, as in post-norm blocks (torch.nn.TransformerEncoderLayer without norm_first=True), and "
        f"the head reads the class token alone. {instead}"
    )


def first_component(
    values: Float[Tensor, "batch targets patches channels"],
    along: Float[Tensor, "batch targets patches"] | None = None,
) -> Float[Tensor, "batch targets patches"]:
    """The patches' places along the first principal component of their channels.

    ::

        (X − mean_j X) v₁,   v₁ the first right singular vector of X − mean_j X

    A singular vector has no sign of its own. It gets the one with which the component rises with ``along``, or
    without that the one with which its value of largest magnitude is positive.

    Example:
        >>> first_component(torch.tensor([[[[1.0, 0.0], [2.0, 0.0], [6.0, 0.0]]]]))
        tensor([[[-2., -1.,  3.]]])
    """
    centred = values.double() - values.double().mean(dim=2, keepdim=True)
    # Of X Xᵀ the eigenvector is the left singular vector; there are mostly fewer patches than channels.
    eigenvalues, vectors = torch.linalg.eigh(centred @ centred.transpose(-1, -2))
    component = vectors[..., -1] * eigenvalues[..., -1:].clamp_min(0).sqrt()
    if along is None:
        toward: Tensor = component.gather(-1, component.abs().argmax(dim=-1, keepdim=True))
    else:
        toward = (component * along.double()).sum(dim=-1, keepdim=True)
    signed: Tensor = component * torch.where(toward < 0, -1.0, 1.0)
    return signed.float()


def augmented(
    recording: Recording, name: str, need: FeatureNeed, of: Callable[[Recording], TokenMap]
) -> TokenMap:
    """The mean of a method's maps of the images, upright and mirrored, in three brightnesses: six passes.

    Raises:
        MethodError: the patches don't lie evenly in the image, so that a mirrored map can't be turned back.
    """
    assert recording.again is not None
    maps = []
    for mirrored in (False, True):
        for brightness in BRIGHTNESSES:
            as_it_is = not mirrored and brightness == 1
            images = recording.images.flip(-1) if mirrored else recording.images
            again = recording if as_it_is else recording.again(images * brightness, [need])
            one, grid = of(again), again.features[need].grid
            assert grid is not None
            maps.append(_mirrored(one, grid, recording, name) if mirrored else one)
    return sum(maps[1:], start=maps[0]) / len(maps)


def _mirrored(maps: TokenMap, grid: PatchGrid, recording: Recording, name: str) -> TokenMap:
    if (
        grid.region is not None
        and grid.region[len(grid.shape) - 1] + grid.region[-1] != recording.images.shape[-1]
    ):
        raise MethodError(
            f"{name} isn't defined with smooth='aug' for {type(recording.model).__name__} on images of this size: "
            "its patches leave out an edge on one side, so that those of a mirrored image are other places. Choose "
            "smooth='eigen' or 'none', or a size that the patches cover"
        )
    by_row: Tensor = maps.unflatten(-1, grid.shape)
    return by_row.flip(-1).flatten(2)

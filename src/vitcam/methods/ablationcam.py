"""Ablation-CAM (Desai and Ramaswamy, WACV 2020): channels weighted by what the score loses without them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.methods.feature_maps import (
    SMOOTHINGS,
    augmented,
    feature_method,
    features_at,
    first_component,
)
from vitcam.methods.method import TokenMap
from vitcam.methods.options import one_of
from vitcam.recording import FeatureNeed, Features, Recording, fast_linear

COPIES = 32
"""How many copies of an image, each without one channel, go through the model at a time."""


def ablationcam(
    recording: Recording, *, layer: int | str = -1, at: str = "norm1", smooth: str = "none"
) -> TokenMap:
    """Channels of a feature map, weighted by the share of the score that is lost when they are set to zero.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = (y − y_c) / |y|

    with y_c the score when channel c is zero at every token, the class token's included.

    Desai and Ramaswamy, WACV 2020, doi 10.1109/WACV45572.2020.9093360, which divides by y, so that a negative score
    would turn the map over. Where activations can be negative, as behind a norm, pip ``grad-cam`` puts the least of
    them less 1e7 in the place of the zero, with which little is left of the model's output; not so here.

    The paper's activations are positive. Where they aren't, as behind a norm, a channel that is below zero at most
    patches and speaks for the class counts against them, so that the map may show the rest of the image.
    ``gradcam`` and ``hirescam``, whose weights have the sign of the gradient, don't suffer from that.

    No gradient is needed. It costs a forward pass for every channel (768 of an image in a ViT-B), whatever the number
    of targets; six times as many with ``smooth="aug"``.

    Args:
        recording: with the feature map.
        layer, at, smooth: as for ``gradcam``.

    Raises:
        MethodError: an option's value is wrong, there is no such layer, one that doesn't fit the patch grid, or one
            that is called several times.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(photo_model, photo, method="ablationcam").heatmaps.shape
        torch.Size([1, 1, 12, 12])
    """
    one_of("ablationcam", "smooth", smooth, SMOOTHINGS)
    need = FeatureNeed(layer, at, gradient=False)

    def of(recording: Recording) -> TokenMap:
        found = features_at(recording, "ablationcam", need)
        weighted = _lost(recording, need, found)[:, :, None] * found.by_patch[:, None]
        total = weighted.sum(dim=-1)
        return (first_component(weighted, along=total) if "eigen" in smooth else total).relu()

    return augmented(recording, "ablationcam", need, of) if smooth.startswith("aug") else of(recording)


def _lost(
    recording: Recording, need: FeatureNeed, found: Features
) -> Float[Tensor, "batch targets channels"]:
    """(y − y_c) / |y| for every channel."""
    axis = 1 if found.places.channels_first else -1
    channels = found.activation.shape[axis]
    lost = torch.empty(*recording.targets.shape, channels, device=recording.targets.device)
    with recording.resumed() as model, torch.no_grad(), fast_linear():
        for index in range(len(recording.images)):
            with recording.only(index):
                whole = recording.scorer(slice(index, index + 1))(model(recording.images[index : index + 1]))
                for start in range(0, channels, COPIES):
                    some = range(start, min(start + COPIES, channels))
                    scores = _without(recording, model, need, index, some, axis)
                    drop = (whole - scores).float() / whole.float().abs().clamp_min(1e-12)
                    lost[index, :, start : start + len(some)] = drop.T
    return lost


def _without(
    recording: Recording, model: nn.Module, need: FeatureNeed, index: int, channels: range, axis: int
) -> Float[Tensor, "copies targets"]:
    """The scores of one image without one channel each."""

    def without(activation: Tensor) -> Tensor:
        changed = activation.movedim(axis, -1).clone()
        for copy, channel in enumerate(channels):
            changed[copy, ..., channel] = 0
        return changed.movedim(-1, axis)

    copies = recording.images[index : index + 1].expand(len(channels), *recording.images.shape[1:])
    with recording.changed(need, len(channels), without):
        return recording.scorer(slice(index, index + 1), len(channels))(model(copies))


METHODS = (
    feature_method(
        ablationcam,
        "channels of the last block's first norm, weighted by what the score loses without them",
        "doi 10.1109/WACV45572.2020.9093360",
        needs=lambda options: FeatureNeed(options["layer"], options["at"], gradient=False),
        passes="forward for every channel",
        many_passes=True,
    ),
)

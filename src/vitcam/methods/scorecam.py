"""Score-CAM (Wang et al., CVPR Workshops 2020, arXiv 1910.01279) on a Vision Transformer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.heatmap import normalize, to_grid, upsample
from vitcam.methods.feature_maps import features_at
from vitcam.methods.method import Method, Sampled, TokenMap
from vitcam.methods.options import at_least
from vitcam.methods.passes import Passes, generator_of, many_passes
from vitcam.recording import FeatureNeed, Need, Recording
from vitcam.types import PatchGrid

_NORM = FeatureNeed(gradient=False)


def scorecam(
    recording: Recording, *, budget: int = 0, output: str = "logit", seed: int = 0
) -> TokenMap | Sampled:
    """Channels of the last block's first norm, weighted by the score of the image seen through each of them.

    ::

        map_j = ReLU( Σ_k w_k · a_jk ),   w = softmax over k of  y(x ⊙ n(a_k))

    with a the norm's output on the patch grid, and n(a_k) a channel enlarged to pixels and scaled to 0..1. It is
    where ``gradcam`` looks, and no gradient weighs anything. The softmax is that of the paper's algorithm 1, over
    logits, as in pip ``grad-cam`` (which aligns the corners when it enlarges; here, as in the authors' code, pixel
    centres are aligned).

    There are as many channels as the model is wide. With a smaller ``budget`` as many are drawn at random: the map is
    then the ratio of two means over channels, and its standard error, before the ReLU, that of such a ratio.

    Args:
        recording: with the last block's norm; its model is run again.
        budget: forward passes for each image, one for each channel; 0 for all of them.
        output: what of a class is followed, "logit" or "probability".
        seed: of the channels that are drawn, with the image's own values.

    Raises:
        MethodError: the last block has no normalisation layer, or one that doesn't fit the patch grid.

    Returns:
        (batch, targets, patches), ≥ 0; with standard errors where channels were drawn.

    Example:
        >>> vitcam.explain(photo_model, photo, method="scorecam", budget=20).errors.shape
        torch.Size([1, 1, 12, 12])
    """
    if budget:
        at_least("scorecam", "budget", budget, 2, ", or 0 for every channel,")
    at_least("scorecam", "seed", seed, 0)
    norm = features_at(recording, "scorecam", _NORM)
    assert norm.grid is not None
    activation = norm.by_patch.transpose(1, 2)
    every = activation.shape[1]
    count = min(budget, every) if budget else every
    values, errors = [], []
    with many_passes(recording, output) as passes:
        for index, image in enumerate(recording.images):
            drawn = torch.randperm(every, generator=generator_of(image, seed))[:count].sort().values
            channels = activation[index, drawn.to(activation.device)]
            mean, error = weighed(_seen_through(passes, index, channels, norm.grid), channels, every)
            values.append(mean.relu())
            errors.append(error)
    return Sampled(torch.stack(values), torch.stack(errors)) if count < every else torch.stack(values)


def weighed(
    scores: Float[Tensor, "channels targets"], channels: Float[Tensor, "channels patches"], every: int
) -> tuple[Float[Tensor, "targets patches"], Float[Tensor, "targets patches"]]:
    """The mean of channels weighed by the softmax of their scores, and its standard error if they are some of more.

    It is the ratio of the means of e^s · a and of e^s over channels drawn without putting any back.

    Args:
        scores: of each channel.
        channels: what they hold.
        every: how many channels there are.

    Example:
        >>> mean, error = weighed(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), every=4)
        >>> mean, error  # √(1/4 · variance 2)
        (tensor([[2.]]), tensor([[0.7071]]))
    """
    count = len(channels)
    weights = scores.T.softmax(dim=1)
    mean = weights @ channels
    away = count * weights[:, :, None] * (channels - mean[:, None])
    return mean, away.std(dim=1) * math.sqrt((1 - count / every) / count)


def _seen_through(
    passes: Passes, index: int, channels: Float[Tensor, "channels patches"], grid: PatchGrid
) -> Float[Tensor, "channels targets"]:
    image = passes.recording.images[index]
    size = tuple(image.shape[1:])

    def seen(part: slice) -> Tensor:
        masks = normalize(upsample(to_grid(channels[part], grid)[:, None], size, grid.region), len(size))
        return image * masks.to(image)

    return passes.of_images(index, len(channels), seen)


METHOD = Method(
    compute=scorecam,
    needs=lambda options: Need.NOTHING,
    features=lambda options: _NORM,
    kind="feature maps",
    summary="channels of the last block's first norm, weighted by the score of the image seen through them",
    passes="a forward for each channel",
    paper="arXiv 1910.01279",
    plain_vit_only=False,
    one_stream_only=True,
    many_passes=True,
)

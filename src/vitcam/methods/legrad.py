"""LeGrad (Bousselham et al., ICCV 2025, arXiv 2404.03214)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vitcam.errors import MethodError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import chosen_layers, one_of
from vitcam.recording import Need, Recording

_POOLINGS = {"mean": Need.MEAN_LAYER_GRADIENT, "head": Need.LAYER_GRADIENT}


def legrad(
    recording: Recording,
    *,
    pooling: str = "mean",
    layers: str | Sequence[int] = "all",
    rules: str = "plain",
) -> TokenMap:
    """The positive gradient of each layer's own score with respect to that layer's attention.

    ::

        map_j = Σ_l  mean_h mean_i  ReLU(∂y_l/∂A_l,ij)

    where y_l is the score that the model's head gives to the mean of the tokens that leave block l, and
    ∂y_l/∂A_ij = ⟨∂y_l/∂O_i, v_j⟩. Each gradient goes from the head to its own layer and no further. Attention
    itself isn't multiplied in.

    The mean token in the head's input is what the authors' package ``legrad_torch`` and ``torchcam`` take, also
    for models whose head reads the class token. Both are reproduced up to a factor: ``torchcam`` takes the mean
    over the layers it is given. ``legrad_torch`` takes the cosine with a text embedding for y, and by default
    the last two layers (here ``layers="last:2"``). Where an attention pools the tokens for the head (SigLIP),
    A_l is that attention as it pools the tokens of block l. ``legrad_torch`` does so too, but hands it the tokens as
    they leave the block, where here they pass the trunk's last norm first, as in the model; so the maps differ. Its
    correction by an empty prompt is left out.

    Args:
        recording: with the gradients of the layers' own scores.
        pooling: what the head reads of a block's tokens: their "mean", or what it reads in the model ("head"),
            as the class token alone.
        layers: which layers take part: "all", "last:K", "first:K" or a list of indices.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: an option's value is wrong, the head reads more than what the last block returns, or there is no
            rule for a function that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="legrad(layers='last:2')").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("legrad", rules, recording)
    one_of("legrad", "pooling", pooling, _POOLINGS)
    found = recording.mean_layer_gradients if pooling == "mean" else recording.layer_gradients
    if found is None:
        raise MethodError(
            f"legrad isn't defined for {type(recording.model).__name__}: no blocks of one size, each called once, "
            "were found in it, or its head reads more than what the last of them returns, so it can't be applied to "
            "one layer's tokens alone. gae and gradsam work on it"
        )
    total = torch.zeros(
        *recording.targets.shape, recording.layout.grid.tokens, device=recording.targets.device
    )
    for index in chosen_layers("legrad", layers, len(found)):
        layer, gradient = found[index]
        for rows in layer.row_chunks(copies=1):
            for target in range(total.shape[1]):
                positive = layer.map_gradient(gradient[:, target, :, rows]).relu_()
                total[:, target] += (
                    positive.mean(dim=1).sum(dim=1)[:, recording.layout.grid.patches] / layer.queries
                )
    return total


METHOD = Method(
    compute=legrad,
    needs=lambda options: _POOLINGS.get(options["pooling"], Need.NOTHING),
    kind="attention",
    summary="positive gradients of each layer's own score with respect to its attention, summed over layers",
    passes="forward, local backward per layer",
    paper="arXiv 2404.03214",
    by_rules=True,
    one_stream_only=True,
)

"""FullGrad (Srinivas & Fleuret, NeurIPS 2019, arXiv 1905.00780) at tokens: the method ``fullgrad``."""

from __future__ import annotations

import torch

from vitcam.errors import MethodError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.ixg import tokens_of
from vitcam.methods.method import Method, TokenMap
from vitcam.recording import Need, Recording


def fullgrad(recording: Recording, *, every_block: bool = True, rules: str = "plain") -> TokenMap:
    """Input × gradient of the tokens that enter each block, and bias × gradient of each bias behind the first.

    ::

        map_j = Σ_l Σ_c x_l,jc · ∂y/∂x_l,jc  +  Σ_b Σ_c b_c · ∂y/∂z_b,jc

    with x_l the tokens that enter block l, and z_b what a bias b is added to: each bias of a linear map or a norm
    between the first block's input and the score. It is FullGrad+ in the LibraGrad paper (Mehri, Baghshah & Pilehvar,
    CVPR 2025, arXiv 2411.16760). ``every_block=False`` takes the first block's input alone, which is FullGrad: with
    ``rules="libra"``, what it gives to all tokens, and to what is no token (the head's bias), adds up to the score;
    if it doesn't, that is an error.

    Deviations. What belongs to no token is left out, where the authors' code gives it to the first; so is, as in all
    maps, the share of tokens in front of the patches. The map has its sign, where the FullGrad of 2019, made for
    convolutional networks, takes absolute values and scales each layer's. Constants that are added or joined on
    behind the first block's input count as biases. As in the authors' code, plain activations have no bias.

    Passes: a forward one, and a forward and a backward one by rules, shared by all methods with the same rules.

    Args:
        recording: with gradients of tokens and biases.
        every_block: whether the tokens that enter each block take part, or only those that enter the first.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: the model's blocks weren't recognised, or there is no rule for a function that the model uses.
        ModelError: the rules are complete, and what they give for this model isn't; or the batch has as many
            images as there are tokens.

    Returns:
        (batch, targets, patches), of either sign, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="fullgrad(rules='libra')").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("fullgrad", rules, recording)
    found = tokens_of("fullgrad", recording)
    if found.biases is None:
        raise MethodError(
            "fullgrad was given a recording without biases; vitcam.explain makes the one that it needs"
        )
    entering = found.products[:-1] if every_block else found.products[:1]
    return (torch.stack(entering).sum(dim=0) + found.biases)[..., recording.layout.grid.patches]


METHOD = Method(
    compute=fullgrad,
    needs=lambda options: Need.TOKENS | Need.BIASES,
    kind="gradients",
    summary="the tokens that enter each block × their gradient, and biases × theirs",
    passes="forward, forward and backward by rules",
    paper="arXiv 2411.16760",
    one_stream_only=True,
    by_rules=True,
)

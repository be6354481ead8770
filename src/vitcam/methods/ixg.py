"""Input × gradient (Shrikumar et al. 2016, arXiv 1605.01713) at tokens: the method ``ixg``."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.bands import input_times_gradient
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Banded, Method
from vitcam.recording import Need, Recording, TokenGradients

_ROUNDING = 1e-4  # of a sum's absolute values, which float32 can't tell from 0


def ixg(recording: Recording, *, layer: int = 0, rules: str = "plain") -> Banded:
    """The tokens that leave a block, times their gradient, summed over channels.

    ::

        map_j = Σ_c x_jc · ∂y/∂x_jc

    with x the tokens that enter the first block (``layer=0``: the patch embedding's, position embeddings added), or
    those that leave the block of that number, counted from 1; ``layer=-1`` are those that leave the last block.

    With ``rules="libra"`` (LibraGrad, Mehri, Baghshah & Pilehvar, CVPR 2025, arXiv 2411.16760), the map over all
    tokens, those in front of the patches included, and what biases contribute add up to the score; if they don't, it
    is an error. At ``layer=0`` it is ``attnlrp(conv_gamma=0, linear_gamma=0, through_softmax=False)``, before that
    goes through the patch embedding. The share of tokens in front of the patches is left out, as in all maps.

    Plain gradients tell little at tokens that are read through norms alone: a norm doesn't depend on the length of
    its input, so that input × gradient is 0. Where that is so of all patches, as in front of the last block of a
    model with a class token, it is an error.

    At ``layer=0`` of an input of other bands than colours, each band's share is told too: the patch embedding is
    linear, so that x · ∂y/∂x at the pixels of a band is what the band brings to the tokens times their gradient. What
    biases and position embeddings bring is in the map, and no band's.

    Passes: a forward and a backward one; by rules one more of each, shared by all methods with the same rules; for
    bands one more of each.

    Args:
        recording: with gradients of the tokens between blocks.
        layer: how many blocks the tokens have been through; a negative one counts from the last.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: there is no such layer, the model's blocks weren't recognised, no gradient reaches the patches of
            that layer, or it cancels out in each, or there is no rule for a function that the model uses.
        ModelError: the rules are complete, and what they give for this model isn't.

    Returns:
        (batch, targets, patches), of either sign, in units of the score; and what bands count, see
        ``Explanation.bands``.

    Example:
        >>> vitcam.explain(model, images, method="ixg(rules='libra')").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("ixg", rules, recording)
    tokens, patches = tokens_of("ixg", recording), recording.layout.grid.patches
    count = len(tokens.products)
    if not -count <= layer < count:
        raise MethodError(
            f"ixg has no layer={layer}; this model's are 0, in front of the first block, to {count - 1}, behind the "
            "last (negative: from the last)"
        )
    product, size = tokens.products[layer][..., patches], tokens.sizes[layer][..., patches]
    if not size.any(dim=2).all():
        raise MethodError(
            f"ixg with layer={layer} isn't defined for {type(recording.model).__name__}: the score doesn't depend on "
            "the patches there. So it is behind the last block of a model whose head reads the class token alone; "
            "choose a lower layer"
        )
    if not (product.abs() > _ROUNDING * size).any(dim=2).all():
        raise MethodError(
            f"ixg with layer={layer} isn't defined for {type(recording.model).__name__}: input × gradient cancels "
            "out in each patch, since all that reads it is a norm, whose result doesn't depend on the length of its "
            "input. rules='libra' is made for this; or choose another layer"
        )
    bands = input_times_gradient(recording, rules) if layer % count == 0 else None
    return Banded(product, bands)


def ixg_of_text(recording: Recording) -> Float[Tensor, "batch targets length"] | None:
    """The tokens of a text where their ids are looked up, times their gradient; None by rules, or without a text.

    Of either sign: what speaks against the picture's fitting its text, too.
    """
    return recording.text_products() if recording.rules == "plain" else None


def tokens_of(method: str, recording: Recording) -> TokenGradients:
    """The gradients of the tokens between blocks.

    Raises:
        MethodError: they weren't found.
    """
    if recording.token_gradients is None:
        raise MethodError(
            f"{method} isn't defined for {type(recording.model).__name__}: no blocks, each called once, were found "
            "in it that take and return the tokens which its attention layers attend over. gae, gradsam and "
            "captum:InputXGradient work on it"
        )
    return recording.token_gradients


METHOD = Method(
    compute=ixg,
    needs=lambda options: Need.TOKENS,
    kind="gradients",
    summary="the tokens between two blocks × their gradient",
    passes="forward, backward",
    paper="arXiv 1605.01713",
    one_stream_only=True,
    by_rules=True,
    of_text=ixg_of_text,
)

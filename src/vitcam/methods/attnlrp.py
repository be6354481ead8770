"""AttnLRP (Achtibat et al., ICML 2024, arXiv 2402.05602): the method ``attnlrp``."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance.propagation import Trace
from vitcam.types import PatchGrid


def input_relevance(
    traced: Trace, scores: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channels height width"]:
    """The relevance of every input value for one score per image; of either sign.

    Args:
        traced: a trace by the rules of ``attnlrp_rules``, without ``start_layer``.
        scores: one score per image, computed from ``traced.output``; the relevance at the output is the score.
    """
    (message,) = traced.relevance(scores, [traced.images])
    return traced.images.detach() * message


def patch_relevance(
    relevance: Float[Tensor, "batch channels height width"], grid: PatchGrid
) -> Float[Tensor, "batch patches"]:
    """The relevance of each patch: the sum over its pixels and channels.

    The relevance that the rules give to biases, the class token and position embeddings, and what softmax and
    norms absorb, is lost, so a map sums to less than the score or to more.

    Agreement with the authors' package ``lxt`` 2.1 is exact up to float rounding: with what it does for
    torchvision's ``vit_b_16`` (CP-LRP inside attention, that is ``attnlrp_rules(through_softmax=False)``, and
    zennit's γ rule), and with its AttnLRP attention on Hugging Face models with the γs at 0. It has no AttnLRP
    attention for torchvision, where the default of this method is the paper's and not the package's.

    Args:
        relevance: of the input, as of :func:`input_relevance`.
        grid: how the patches lie over the image.

    Raises:
        MethodError: the grid doesn't divide the image evenly.

    Example:
        >>> traced = trace(model, images, attnlrp_rules())
        >>> pixels = input_relevance(traced, traced.output[:, 281])
        >>> patch_relevance(pixels, PatchGrid(14, 14, prefix=1)).shape
        torch.Size([8, 196])
    """
    height, width = relevance.shape[-2:]
    if height % grid.height or width % grid.width:
        raise MethodError(
            f"attnlrp sums relevance over patches of equal size, but an image of {height}×{width} pixels doesn't "
            f"divide into {grid.height}×{grid.width} patches; resize the images to a multiple of the patch size"
        )
    patches: Tensor = relevance.unflatten(-1, (grid.width, -1)).unflatten(-3, (grid.height, -1))
    return patches.sum(dim=(1, 3, 5)).flatten(1)

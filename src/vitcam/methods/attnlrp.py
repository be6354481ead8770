"""AttnLRP (Achtibat et al., ICML 2024, arXiv 2402.05602): the method ``attnlrp``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.bands import bands_of
from vitcam.methods.method import Banded, Bands, Method
from vitcam.methods.pixels import sums_over_patches
from vitcam.methods.relevance.attnlrp import attnlrp_rules
from vitcam.methods.relevance.precise import at_least
from vitcam.methods.relevance.tracing import Trace, trace
from vitcam.recording import Need, Recording, fast_linear
from vitcam.types import PatchGrid


def attnlrp(
    recording: Recording,
    *,
    conv_gamma: float = 0.25,
    linear_gamma: float = 0.05,
    through_softmax: bool = True,
) -> Banded:
    """Relevance propagated from the target's logit to the pixels, summed over each patch.

    The rules are in ``methods/relevance/attnlrp.py``: ε and γ rules for linear maps, halves for the two products
    of attention, the Taylor decomposition of softmax, identity for norms and activations. How far they agree
    with the authors' package, and where not, is said at :func:`patch_relevance`. It runs in float32 at least, also
    on a model in bf16 or fp16.

    CLIP's image tower ends in a linear map without a bias, ``proj``; it takes part with γ like any other.

    Its rules are of the family of layer-wise relevance propagation; see NOTICE on patents.

    Args:
        recording: any; the model is run once more, by the rules.
        conv_gamma: γ of the patch embedding's convolution; 0 is the ε rule.
        linear_gamma: γ of the linear maps outside attention.
        through_softmax: False is CP-LRP: attention weights are constants, and relevance passes an attention by way
            of its values only.

    Raises:
        MethodError: a γ is negative, or the model uses an operation for which there is no rule, or the precision
            asked for isn't "fp32".

    Returns:
        (batch, targets, patches), of either sign, in units of the score; and what bands count, see
        ``Explanation.bands``.

    Example:
        >>> vitcam.explain(model, images, method="attnlrp", linear_gamma=0.1).method
        'attnlrp(linear_gamma=0.1)'
    """
    if conv_gamma < 0 or linear_gamma < 0:
        raise MethodError(f"attnlrp takes γ ≥ 0, not conv_gamma={conv_gamma}, linear_gamma={linear_gamma}")
    device = recording.images.device
    full_precision = torch.autocast(device.type, enabled=False)
    with recording.resumed() as model, torch.enable_grad(), full_precision, fast_linear():
        traced = trace(model, recording.images, attnlrp_rules(conv_gamma, linear_gamma, through_softmax))
        with at_least(torch.float32):
            scores = recording.scorer()(traced.output)
        found = [input_relevance(traced, scores[:, target]) for target in range(scores.shape[1])]
    maps = [patch_relevance(each, recording.layout.grid) for each in found]
    bands = torch.stack([bands_of(each) for each in found], dim=1)
    return Banded(torch.stack(maps, dim=1), Bands(*bands.unbind(dim=3)))


def input_relevance(traced: Trace, scores: Float[Tensor, " batch"]) -> Float[Tensor, "batch channels *space"]:
    """The relevance of every input value for one score per image; of either sign.

    Args:
        traced: a trace by the rules of ``attnlrp_rules``, without ``start_layer``.
        scores: one score per image, computed from ``traced.output``; the relevance at the output is the score.
    """
    (message,) = traced.relevance(scores, [traced.images])
    return traced.images.detach() * message


def patch_relevance(
    relevance: Float[Tensor, "batch channels *space"], grid: PatchGrid
) -> Float[Tensor, "batch patches"]:
    """The relevance of each patch: the sum over its pixels and channels.

    The relevance that the rules give to biases, the class token and position embeddings, and what softmax and
    norms absorb, is lost, so a map sums to less than the score or to more.

    A patch is one of grid.height × grid.width equal parts of what the patches cover: the whole image, or its part
    ``grid.region``, outside of which the model sees nothing.

    Agreement with the authors' package ``lxt`` 2.1 is exact up to float rounding: with what it does for
    torchvision's ``vit_b_16`` (CP-LRP inside attention, that is ``attnlrp_rules(through_softmax=False)``, and
    zennit's γ rule), and with its AttnLRP attention on Hugging Face models with the γs at 0. It has no AttnLRP
    attention for torchvision, where the default of this method is the paper's and not the package's.

    Args:
        relevance: of the input, as of :func:`input_relevance`.
        grid: how the patches lie over the image.

    Example:
        >>> traced = trace(model, images, attnlrp_rules())
        >>> pixels = input_relevance(traced, traced.output[:, 281])
        >>> patch_relevance(pixels, PatchGrid(14, 14, prefix=1)).shape
        torch.Size([8, 196])
    """
    return sums_over_patches(relevance.sum(dim=1), grid)


METHOD = Method(
    compute=attnlrp,
    needs=lambda options: Need.NOTHING,
    kind="gradients",
    summary="relevance by the rules of AttnLRP at the pixels, summed over each patch",
    passes="forward and backward by rules",
    paper="arXiv 2402.05602",
    computes_in="float32",
    plain_vit_only=False,
)

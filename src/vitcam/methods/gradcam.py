"""Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) on a Vision Transformer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.recording import Need, Recording, laid_in_rows


def gradcam(recording: Recording) -> TokenMap:
    """Channels of the last block's first norm, weighted by the mean of their gradients over the patches.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = mean_j ∂y/∂a_jc

    with a the output of the first normalisation in the last block, patch tokens only. This is pip ``grad-cam``
    with ``target_layers=[model.blocks[-1].norm1]`` and its usual reshape transform, before that package scales
    each map to 0..1. The ReLU can leave nothing of a map: where no patch speaks for the class it is zero. Where no
    gradient reaches a patch at all, there is no map: so it is if that norm comes behind the block's attention, as in
    post-norm blocks (``torch.nn.TransformerEncoderLayer`` as it is by default), and the head reads the class token.

    Defined for hierarchical models (Swin) too: there it is the last block of the last stage.

    Raises:
        MethodError: the last block has no normalisation layer, one that doesn't fit the patch grid, or one whose
            patches the score doesn't depend on.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="gradcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    norm = recording.block_norm
    if norm is None:
        raise MethodError(
            f"gradcam isn't defined for {type(recording.model).__name__}: no normalisation layer was called in "
            "its last block. captum:Saliency and its like work on any model"
        )
    batch = len(recording.images)
    if len(norm.activation) != batch:
        raise MethodError(
            f"gradcam isn't defined for {type(recording.model).__name__}: of {batch} images the first norm of its "
            f"last block makes {len(norm.activation)}, so that it can't be told what belongs to which. "
            "captum:Saliency and its like work on any model"
        )
    activation = _patches(norm.activation, recording)
    if not norm.confirmed:
        because = f" ({recording.layout.obstacle})" if recording.layout.obstacle else ""
        raise MethodError(
            f"gradcam isn't defined for {type(recording.model).__name__}: which token is which place of the image at "
            f"the first norm of its last block couldn't be confirmed{because}. captum:Saliency and its like work on "
            "any model"
        )
    gradient = _patches(norm.gradient.flatten(0, 1), recording).unflatten(0, recording.targets.shape)
    _check_reached(gradient, recording)
    weights: Tensor = gradient.mean(dim=2)
    return (weights @ activation.transpose(1, 2)).relu_()


def _patches(
    norm: Float[Tensor, "batch ..."], recording: Recording
) -> Float[Tensor, "batch patches channels"]:
    """The patches of a tensor laid out as the model does, in the order of the patch grid."""
    patches = laid_in_rows(norm, recording.layout)
    if patches is None:
        raise MethodError(
            f"gradcam isn't defined for {type(recording.model).__name__}: the first norm of its last block gives "
            f"{tuple(norm.shape[1:])} per image, which doesn't fit its {recording.layout.grid}. captum:Saliency and "
            "its like work on any model"
        )
    return patches


def _check_reached(gradient: Float[Tensor, "batch targets patches channels"], recording: Recording) -> None:
    """A map of zeros is no map if it is one because nothing that is behind the norm reads the patches."""
    unreached = ((gradient == 0).flatten(2).all(dim=2)).nonzero()
    if not len(unreached):
        return
    image, target = unreached[0].tolist()
    index = int(recording.targets[image, target])
    score = "the score that `targets` computes" if index < 0 else f"the logit of class {index}"
    raise MethodError(
        f"gradcam isn't defined for {type(recording.model).__name__}: {score} doesn't depend on the patches at the "
        f"first norm of its last block (their gradient is exactly zero, image {image} of the batch). So it is where "
        "that norm comes behind the block's attention, as in post-norm blocks (torch.nn.TransformerEncoderLayer "
        "without norm_first=True), and the head reads the class token alone. agcam, gae and legrad explain such "
        "models"
    )


METHOD = Method(
    compute=gradcam,
    needs=lambda options: Need.BLOCK_NORM,
    summary="channels of the last block's first norm, weighted by their mean gradients",
    passes="forward, backward",
    paper="arXiv 1610.02391",
    plain_vit_only=False,
    one_stream_only=True,
)

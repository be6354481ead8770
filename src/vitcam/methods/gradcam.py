"""Grad-CAM and those that differ from it in how gradients weigh channels or places of a feature map.

All look at the output of the last block's first norm, patch tokens only, as pip ``grad-cam`` does with
``target_layers=[model.blocks[-1].norm1]`` and its usual reshape transform; other points are options. What they give
is what that package computes before it sets negative values to zero, where the formula doesn't, and scales each map.

In a hierarchical model (Swin, PVT, MaxViT) the last block is that of the last stage. Methods of the same feature map
that are compared share the pass and the gradient.
"""

from __future__ import annotations

from vitcam.methods.feature_maps import Activation, Gradient, Weighted, feature_method, weighted_map
from vitcam.methods.method import TokenMap
from vitcam.recording import FeatureNeed, Recording


def gradcam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """Channels of a feature map, weighted by the mean of their gradients over the patches.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = mean_j ∂y/∂a_jc

    with a the output of the first normalisation in the last block, patch tokens only. This is pip ``grad-cam``
    with ``target_layers=[model.blocks[-1].norm1]`` and its usual reshape transform, before that package scales
    each map to 0..1. The ReLU can leave nothing of a map: where no patch speaks for the class it is zero. Where no
    gradient reaches a patch at all, there is no map: so it is if that norm comes behind the block's attention, as in
    post-norm blocks (``torch.nn.TransformerEncoderLayer`` as it is by default), and the head reads the class token.

    Defined for hierarchical models (Swin) too: there it is the last block of the last stage.

    Selvaraju et al., ICCV 2017, arXiv 1610.02391. It costs a forward pass, and a backward pass from the score to the
    feature map; six of each with ``smooth="aug"``.

    Args:
        recording: with the feature map and its gradient.
        layer: the block, by its number (negative: from the last), or any module by its name, such as
            ``"blocks.3.mlp"``.
        at: where in that block: at the output of its first norm ("norm1"), of its second ("norm2"), or at what it
            returns ("block").
        smooth: "none"; "eigen": the first principal component of the weighted channels in the place of their sum, as
            with ``eigen_smooth`` of pip ``grad-cam``, with a sign that follows the sum; "aug": the mean map of the
            image and its mirror image, each as it is and multiplied by 0.9 and 1.1, as with ``aug_smooth``, which
            scales each of these maps first; "aug+eigen".
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: an option's value is wrong; there is no such layer, one that doesn't fit the patch grid, or one
            whose patches the score doesn't depend on.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="gradcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
        >>> vitcam.explain(model, images, method="gradcam", layer=8, at="block", smooth="eigen").method
        "gradcam(layer=8, at='block', smooth='eigen')"
    """

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        return gradient.mean(dim=2, keepdim=True) * activation

    return weighted_map(recording, "gradcam", FeatureNeed(layer, at), weigh, smooth, rules)


def gradcam_plus_plus(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """Channels of a feature map, weighted by their positive gradients, each of which counts by what it would explain.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = Σ_j α_jc · ReLU(g_jc),   g_jc = ∂y/∂a_jc
        α_jc = g_jc² / (2 g_jc² + g_jc³ · Σ_i a_ic + 1e-6),   0 where g_jc = 0

    Chattopadhyay et al., WACV 2018, arXiv 1710.11063. Its α (eq. 19) is for a score exp(y), whose higher derivatives
    are powers of the first; y itself is what is differentiated here, and the 1e-6 added, both as in pip ``grad-cam``.
    The paper's activations are positive. Those behind a norm aren't: where the two terms of the denominator cancel, α
    is large, and of either sign.

    Args:
        recording: with the feature map and its gradient.
        layer, at, smooth, rules: as for :func:`gradcam`, and so are the cost and what is raised.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="gradcam++").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        a, g = activation.double(), gradient.double()
        share = g**2 / (2 * g**2 + g**3 * a.sum(dim=2, keepdim=True) + 1e-6)
        share = share.where(g != 0, 0)
        return ((g.relu() * share).sum(dim=2, keepdim=True) * a).float()

    return weighted_map(recording, "gradcam++", FeatureNeed(layer, at), weigh, smooth, rules)


def xgradcam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """Channels of a feature map, weighted by the mean of their gradients, places counting by their activation.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = Σ_j a_jc · ∂y/∂a_jc / (Σ_j a_jc + 1e-7)

    Fu et al., BMVC 2020, arXiv 2008.02312; the 1e-7 and the ReLU as in pip ``grad-cam``. The paper's activations are
    positive. Those behind a norm aren't: where a channel's activations nearly cancel, its weight is large.

    Args:
        recording: with the feature map and its gradient.
        layer, at, smooth, rules: as for :func:`gradcam`, and so are the cost and what is raised.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="xgradcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        a = activation.double()
        weights = (gradient * a).sum(dim=2, keepdim=True) / (a.sum(dim=2, keepdim=True) + 1e-7)
        return (weights * a).float()

    return weighted_map(recording, "xgradcam", FeatureNeed(layer, at), weigh, smooth, rules)


def layercam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """Activations, each weighted by its own positive gradient.

    ::

        map_j = ReLU( Σ_c ReLU(∂y/∂a_jc) · a_jc )

    Jiang et al., IEEE TIP 2021, doi 10.1109/TIP.2021.3089943, made for earlier layers as well (``layer=``).

    Args:
        recording: with the feature map and its gradient.
        layer, at, smooth, rules: as for :func:`gradcam`, and so are the cost and what is raised.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="layercam(layer=6)").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        return gradient.relu() * activation

    return weighted_map(recording, "layercam", FeatureNeed(layer, at), weigh, smooth, rules)


def hirescam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """Activations, each weighted by its own gradient: input × gradient of what is behind that layer.

    ::

        map_j = Σ_c ∂y/∂a_jc · a_jc

    Draelos and Carin 2020, arXiv 2011.08891, which has no ReLU. If all that is behind the layer were linear, the map
    would sum to the score up to biases and the class token's own part.

    Args:
        recording: with the feature map and its gradient.
        layer, at, smooth, rules: as for :func:`gradcam`, and so are the cost and what is raised.

    Returns:
        (batch, targets, patches), of either sign, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="hirescam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        return gradient * activation

    return weighted_map(recording, "hirescam", FeatureNeed(layer, at), weigh, smooth, rules, positive=False)


METHODS = (
    feature_method(
        gradcam,
        "channels of the last block's first norm, weighted by their mean gradients",
        "arXiv 1610.02391",
        by_rules=True,
    ),
    feature_method(
        gradcam_plus_plus,
        "the same channels, weighted by their positive gradients of second order",
        "arXiv 1710.11063",
        called="gradcam++",
        by_rules=True,
    ),
    feature_method(
        xgradcam,
        "the same channels, gradients counting by the activation they are at",
        "arXiv 2008.02312",
        by_rules=True,
    ),
    feature_method(
        layercam,
        "the same activations, each weighted by its own positive gradient",
        "doi 10.1109/TIP.2021.3089943",
        by_rules=True,
    ),
    feature_method(
        hirescam, "the same activations, each weighted by its own gradient", "arXiv 2011.08891", by_rules=True
    ),
)

"""Eigen-CAM, and its variant with gradients: the first principal component of a feature map."""

from __future__ import annotations

from vitcam.methods.feature_maps import (
    Activation,
    Gradient,
    Weighted,
    augmented,
    feature_method,
    features_at,
    first_component,
    weighted_map,
)
from vitcam.methods.method import TokenMap
from vitcam.methods.options import one_of
from vitcam.recording import FeatureNeed, Recording

_SMOOTHINGS = ("none", "aug")


def eigencam(
    recording: Recording, *, layer: int | str = -1, at: str = "norm1", smooth: str = "none"
) -> TokenMap:
    """What varies most among the patches of a feature map, whatever the class.

    ::

        map_j = ⟨a_j − mean_i a_i, v₁⟩,   v₁ the first right singular vector of a − mean_i a

    Bany Muhammad and Yeasin, IJCNN 2020, arXiv 2008.00299. The paper takes no mean away; pip ``grad-cam`` does, and
    so it is here. A singular vector's sign means nothing, and numpy's is by chance: here the map's value of largest
    magnitude is positive (as in Seg-Eigen-CAM, doi 10.3390/app15137562), since what stands out is mostly small. The
    map may still show the ground. No gradient is needed: it costs a forward pass, six with ``smooth="aug"``.

    Args:
        recording: with the feature map.
        layer, at: as for ``gradcam``.
        smooth: "none" or "aug", as for ``gradcam``.

    Raises:
        MethodError: an option's value is wrong, there is no such layer, or one that doesn't fit the patch grid.

    Returns:
        (batch, targets, patches), the same for every target, of either sign; the mean is 0.

    Example:
        >>> vitcam.explain(model, images, method="eigencam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    one_of("eigencam", "smooth", smooth, _SMOOTHINGS)
    need = FeatureNeed(layer, at, gradient=False)

    def of(recording: Recording) -> TokenMap:
        one = first_component(features_at(recording, "eigencam", need).by_patch[:, None])
        return one.expand(-1, recording.targets.shape[1], -1)

    return augmented(recording, "eigencam", need, of) if smooth == "aug" else of(recording)


def eigengradcam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    rules: str = "plain",
) -> TokenMap:
    """What varies most among the patches of a feature map times its gradient.

    ::

        x_jc = a_jc · ∂y/∂a_jc,   map_j = ⟨x_j − mean_i x_i, v₁⟩

    with v₁ the first right singular vector of x − mean_i x. It is pip ``grad-cam``'s variant of Eigen-CAM (arXiv
    2008.00299) and in no paper; there its sign is by chance, and here such that the map rises with Σ_c x_jc. It is
    ``hirescam`` with ``smooth="eigen"``.

    Args:
        recording: with the feature map and its gradient.
        layer, at, rules: as for ``gradcam``, and so are the cost and what is raised.
        smooth: "none" or "aug", as for ``gradcam``.

    Returns:
        (batch, targets, patches), of either sign; the mean is 0.

    Example:
        >>> vitcam.explain(model, images, method="eigengradcam").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    one_of("eigengradcam", "smooth", smooth, _SMOOTHINGS)

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        return gradient * activation

    smoothed = "eigen" if smooth == "none" else "aug+eigen"
    return weighted_map(
        recording, "eigengradcam", FeatureNeed(layer, at), weigh, smoothed, rules, positive=False
    )


METHODS = (
    feature_method(
        eigencam,
        "what varies most among the patches at the last block's first norm",
        "arXiv 2008.00299",
        needs=lambda options: FeatureNeed(options["layer"], options["at"], gradient=False),
        passes="forward",
        class_specific=False,
    ),
    feature_method(
        eigengradcam,
        "what varies most among the patches there, times the gradient",
        "arXiv 2008.00299",
        by_rules=True,
    ),
)

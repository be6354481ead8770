"""Finer-CAM (Zhang et al., CVPR 2025, arXiv 2501.11309): what tells a class from those like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.feature_maps import Activation, Gradient, Weighted, feature_method, weighted_map
from vitcam.methods.method import TokenMap
from vitcam.recording import FeatureNeed, Recording


@dataclass(frozen=True)
class FinerScore:
    """By how much a class's logit is above those of the classes most like it.

    Attributes:
        references: how many classes it is compared with.
        strength: how much of their logits is taken away.

    Example:
        >>> logits = torch.tensor([[3.0, 1.0, 2.5, -4.0]])
        >>> FinerScore(references=1, strength=1.0)(logits, torch.tensor([[0]]), None)
        tensor([[0.5000]])
    """

    references: int
    strength: float

    def __call__(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Int[Tensor, "batch targets"],
        versus: Int[Tensor, "batch targets"] | None,
    ) -> Float[Tensor, "batch targets"]:
        """The score of each target.

        Raises:
            MethodError: what is explained is no class, or there is no other.
        """
        if (targets < 0).any():
            raise MethodError(
                "finercam compares the logits of classes: it can't explain a function of the model's output"
            )
        if logits.shape[1] < 2:
            raise MethodError("finercam compares a class with others, and this model has one class alone")
        own = logits.gather(1, targets)[..., None]
        others = versus[..., None] if versus is not None else self._most_like(logits.detach(), targets)
        compared = logits[:, None].expand(-1, targets.shape[1], -1).gather(2, others)
        shares = compared.softmax(dim=2)
        return (shares * (own - self.strength * compared)).sum(dim=2)

    def _most_like(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, "batch targets"]
    ) -> Int[Tensor, "batch targets references"]:
        apart = (logits[:, None] - logits.gather(1, targets)[..., None]).abs()
        apart = apart.scatter(2, targets[..., None], float("inf"))
        return apart.topk(min(self.references, logits.shape[1] - 1), dim=2, largest=False).indices


def finercam(
    recording: Recording,
    *,
    layer: int | str = -1,
    at: str = "norm1",
    smooth: str = "none",
    references: int = 3,
    strength: float = 1.0,
    rules: str = "plain",
) -> TokenMap:
    """Grad-CAM of how a class differs from those that the model finds most like it in the image.

    ::

        map_j = ReLU( Σ_c w_c · a_jc ),   w_c = mean_j ∂s/∂a_jc
        s = Σ_d p_d (y_t − γ y_d) / Σ_d p_d

    with d the ``references`` classes whose logits are nearest to that of the class t, p their probabilities, through
    which the gradient goes as well, and γ the ``strength``. What these classes have in common is suppressed. The mean
    over several references is taken in the score, as in the authors' code and in pip ``grad-cam``; the 1e-9 that both
    add to Σ_d p_d isn't, with which nothing would be left of the score where all of them are improbable.

    With ``versus=`` d is the class given there, and s = y_t − γ y_d.

    Zhang et al., CVPR 2025, arXiv 2501.11309. It costs a forward pass, and a backward pass from its score to the
    feature map; six of each with ``smooth="aug"``.

    Args:
        recording: with the feature map and its gradient.
        layer, at, smooth, rules: as for ``gradcam``.
        references: how many classes are compared with; all others, if there are fewer.
        strength: γ; 0 is Grad-CAM, up to how p changes.

    Raises:
        MethodError: an option's value is wrong, what is explained isn't the logit of a class, or as for ``gradcam``.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="finercam", references=1).method
        'finercam(references=1)'
    """
    if recording.score.scale is not None:
        raise MethodError(
            f"finercam is defined by logits: it can't explain a {recording.score.scale_name}. Leave out "
            f"score={recording.score.scale_name!r}"
        )

    def weigh(activation: Activation, gradient: Gradient) -> Weighted:
        return gradient.mean(dim=2, keepdim=True) * activation

    need = _need({"layer": layer, "at": at, "references": references, "strength": strength})
    return weighted_map(recording, "finercam", need, weigh, smooth, rules)


def _need(options: Mapping[str, Any]) -> FeatureNeed:
    references, strength = options["references"], options["strength"]
    if references < 1 or strength < 0:
        raise MethodError(
            f"finercam compares with at least one class, by a strength that isn't negative: got "
            f"references={references}, strength={strength}"
        )
    return FeatureNeed(options["layer"], options["at"], score=FinerScore(references, strength))


METHODS = (
    feature_method(
        finercam,
        "gradcam of how the class differs from those most like it",
        "arXiv 2501.11309",
        needs=_need,
        by_rules=True,
    ),
)

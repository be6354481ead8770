"""Whether a class is what a model predicts."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.evaluation.metrics.probabilities import of_targets


def is_predicted(
    probabilities: Float[Tensor, "*points classes"], targets: Int[Tensor, " batch"], multi_label: bool
) -> Bool[Tensor, "*points"]:
    """Whether the target is the first class; where classes don't exclude each other, or there is one, is above 1/2.

    The first dimension is the targets'.

    Raises:
        TargetError: a target isn't one of the model's classes.

    Example:
        >>> is_predicted(torch.tensor([[0.2, 0.8], [0.2, 0.8]]), torch.tensor([0, 1]), multi_label=False)
        tensor([False,  True])
    """
    of_target = of_targets(probabilities, targets)
    if multi_label or probabilities.shape[-1] == 1:
        return of_target > 0.5
    shape = (-1, *[1] * (probabilities.dim() - 2))
    return probabilities.argmax(-1) == targets.to(probabilities.device).view(shape)

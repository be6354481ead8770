"""Clips, sounds and volumes with their axes as metrics go by them: (batch, channels, and those of space)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vitcam.errors import MetricError
from vitcam.inputs import arranged_as_picture, told
from vitcam.recording import arranged


class AsTaken(nn.Module):
    """A model that is given its inputs with the axes that metrics go by.

    Args:
        model: that takes them otherwise.
        order: of the axes in which it does; see :class:`vitcam.inputs.InputKind`.
    """

    def __init__(self, model: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.order = model, order

    def forward(self, images: Tensor) -> Any:
        return self.model(arranged(images, self.order))


def by_space(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """A model and what it is given, with axes (batch, channels, and those of space); pictures as they are.

    So is what a model is given that is one of these already.

    Example:
        >>> by_space(model, images)[1] is images
        True
    """
    if isinstance(model, AsTaken):
        return model, images
    _kind, order = told(model, images, None)
    return (AsTaken(model, order), arranged_as_picture(images, order)) if order else (model, images)


def check_by_space(model: nn.Module, images: Tensor) -> None:
    """Refuses inputs with other axes, beside which a fill would lie on the wrong ones.

    Raises:
        MetricError: the model takes them in an order of its own.

    Example:
        >>> check_by_space(model, images)
    """
    if by_space(model, images)[0] is not model:
        raise MetricError(
            f"expected inputs and fills with axes (batch, channels, and those of space), got {tuple(images.shape)}, "
            "which the model takes in another order: vitcam.evaluation.metrics.arranged.by_space gives model and "
            "inputs with these axes"
        )

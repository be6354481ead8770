"""Clips, sounds and volumes with their axes as metrics go by them: (batch, channels, and those of space)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vitcam.inputs import arranged_as_picture, told
from vitcam.recording import arranged


class _AsTaken(nn.Module):
    """A model that is given its inputs with the axes that metrics go by."""

    def __init__(self, model: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.order = model, order

    def forward(self, images: Tensor) -> Any:
        return self.model(arranged(images, self.order))


def by_space(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """A model and what it is given, with axes (batch, channels, and those of space); pictures as they are.

    Example:
        >>> by_space(model, images)[1] is images
        True
    """
    _kind, order = told(model, images, None)
    return (_AsTaken(model, order), arranged_as_picture(images, order)) if order else (model, images)

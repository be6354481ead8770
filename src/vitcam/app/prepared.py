"""What a model gets of a visitor's file, prepared once for all methods."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from vitcam.errors import VitcamWarning
from vitcam.inputs import InputKind
from vitcam.models import LoadedModel


@dataclass(frozen=True, eq=False)
class Prepared:
    """Stands for a model's preprocessing: what that has made of one file, whose content needn't be kept.

    Attributes:
        tensor: the model's input, without a batch.
        picture: what is kept of what the model saw.
        kind, order: as the preprocessing's.
        heard: what it warned of.
    """

    tensor: Tensor
    picture: Image.Image
    kind: InputKind
    order: tuple[int, ...]
    heard: tuple[str, ...] = ()

    def read(self, source: Any) -> Image.Image:
        """Whatever it is given."""
        return self.picture

    def __call__(self, source: Any) -> Tensor:
        """The model's input."""
        return self.tensor

    def seen(self, source: Any) -> Image.Image:
        """What the model saw."""
        return self.picture

    def given(self, loaded: LoadedModel) -> tuple[LoadedModel, list[Image.Image]]:
        """A model, and images of which it gets this: what ``vitcam.compare`` begins with."""
        stand_in: Any = self
        return replace(loaded, preprocessing=stand_in), [self.picture]


def prepared(loaded: LoadedModel, source: Any) -> Prepared:
    """What a model gets of what its preprocessing has read.

    Raises:
        ImageError: nothing can be made of it.
    """
    preprocessing = loaded.preprocessing
    # Filters are the whole program's: what others warn of in this moment, while they draw, is lost.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VitcamWarning)
        tensor = preprocessing(source)
    heard = tuple(str(each.message) for each in caught if issubclass(each.category, VitcamWarning))
    return Prepared(tensor, preprocessing.seen(source), preprocessing.kind, preprocessing.order, heard)

"""What is needed to turn photographs into rows, wherever that is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitcam.evaluation.datasets import Dataset
from vitcam.evaluation.loading import Item, Photographs
from vitcam.evaluation.measure import Task
from vitcam.evaluation.rows import ORACLE, Row
from vitcam.evaluation.settings import RunSettings
from vitcam.explaining import Explanation
from vitcam.models import LoadedModel


def maps_of(explanation: Explanation) -> Float[Tensor, "batch targets rows columns"]:
    """The maps that measures are given: on the patch grid, from which they are stretched over the whole image.

    Where patches cover a part of the image only, they are laid over it first, in pixels.
    """
    return explanation.heatmaps if explanation.region is None else explanation.upsampled(normalize=False)


@dataclass(frozen=True)
class RunJob:
    """A run's settings with the dataset and the model that they are for. Picklable.

    Attributes:
        settings: of the run.
        dataset: its photographs.
        model: on the device where it is to run, with the protocol's preprocessing.
        model_indices: for each class of the dataset, the model's or None.
        masks: whether the dataset has masks.
        gallery: whether small pictures are stored, for the report's gallery.
    """

    settings: RunSettings
    dataset: Dataset
    model: LoadedModel
    model_indices: tuple[int | None, ...]
    masks: bool
    gallery: bool = True

    def photographs(self, task: Task) -> Photographs:
        """The dataset as a task needs it."""
        return Photographs(
            self.dataset,
            self.model_indices,
            self.model.preprocessing,
            with_truth=task == "localization" or (task == "perturbation" and ORACLE in self.settings.methods),
            where_known=task != "localization",
        )

    def tensor(self, items: Sequence[Item]) -> Float[Tensor, "batch 3 height width"]:
        """The model's input for a batch, on its device."""
        device = next(self.model.module.parameters()).device
        return torch.stack([item.pixels for item in items]).to(device)

    @property
    def black(self) -> Float[Tensor, "3 1 1"]:
        """What black is in the unit of the model's input."""
        mean, std = self._mean_and_deviation
        return -mean / std

    def seen(self, item: Item) -> Image.Image:
        """What the model sees of a photograph, as a picture."""
        mean, std = self._mean_and_deviation
        pixels = ((item.pixels * std + mean) * 255).round().clamp(0, 255).byte()
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    @property
    def _mean_and_deviation(self) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
        given = self.model.preprocessing
        return torch.tensor(given.mean)[:, None, None], torch.tensor(given.std)[:, None, None]

    def row(self, task: Task, item: Item, method: str, target: int, predicted: int) -> Row:
        """A row without its numbers. An image's prediction is correct if it is a class that is in it."""
        first = next(iter(item.labels.values())) if item.whole is None else item.whole.label
        label = item.labels.get(target, first)
        return {
            "task": task,
            "image": item.id,
            "method": method,
            "target": target,
            "class_name": self.class_name(target, label),
            "label": label,
            "predicted": predicted,
            "correct": predicted in item.labels,
            "error": None,
            **item.made_from._asdict(),
        }

    def class_name(self, target: int, label: int) -> str:
        """The model's name for a class, or else the dataset's."""
        names = self.model.class_names
        return names[target] if names else self.dataset.classes[label].name

"""What is needed to turn photographs into rows, wherever that is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import MethodError
from vitcam.evaluation.datasets import Dataset
from vitcam.evaluation.loading import Item, Photographs
from vitcam.evaluation.measure import Task
from vitcam.evaluation.metrics.arranged import AsTaken
from vitcam.evaluation.randomising import Twin
from vitcam.evaluation.rows import ORACLE, Row
from vitcam.evaluation.settings import RunSettings, in_full_precision
from vitcam.evaluation.shown import colours_of
from vitcam.explaining import Explanation, compare
from vitcam.inputs import InputKind
from vitcam.models import LoadedModel
from vitcam.recording import Precision
from vitcam.types import sides


def maps_of(explanation: Explanation) -> Float[Tensor, "batch targets *grid"]:
    """The maps that measures are given: on the patch grid, from which they are stretched over the whole image.

    Where patches cover a part of the image only, they are laid over it first, in pixels.
    """
    return explanation.heatmaps if explanation.region is None else explanation.upsampled(normalize=False)


def compared(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    methods: Sequence[str],
    targets: Int[Tensor, "images 1"] | None,
    precision: Precision,
    kind: str | None = None,
) -> dict[str, Explanation]:
    """What methods say, by method; those that compute in a precision of their own do so, of the same classes.

    Args:
        model: that explains.
        images: as it takes them.
        methods: names.
        targets: of each, the class; None for the predicted one.
        precision: of the forward pass.
        kind: of input; None: told by its axes.
    """
    own = in_full_precision(methods, precision)
    others = [each for each in methods if each not in own]
    found = dict(compare(model, images, others, targets, precision=precision, kind=kind)) if others else {}
    if own:
        same = next((each.targets for each in found.values()), targets)
        found |= compare(model, images, own, same, kind=kind)
    return {method: found[method] for method in methods}


def check_one_grid(explanations: Mapping[str, Explanation]) -> None:
    """Makes sure that the maps of all methods can be measured together.

    Raises:
        MethodError: they are on different patch grids.
    """
    grids = {name: tuple(one.heatmaps.shape[2:]) for name, one in explanations.items()}
    if len(set(grids.values())) > 1:
        said = ", ".join(f"{name} {sides(grid)}" for name, grid in grids.items())
        raise MethodError(
            "methods in one run of the perturbation or sanity test must have maps on one patch grid; they have "
            f"{said}. Give those of another layer of a hierarchical model a run of their own"
        )


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

    @cached_property
    def twin(self) -> Twin:
        """The model with weights that may be drawn anew: it is copied once, when that is first asked for."""
        return Twin(self.model.module, self.settings.seed)

    @property
    def kind(self) -> InputKind:
        """Of input that the model takes."""
        return self.model.preprocessing.kind

    @cached_property
    def by_space(self) -> nn.Module:
        """The model, given inputs with axes (batch, channels, and those of space), which measures go by."""
        order = self.model.preprocessing.order
        return AsTaken(self.model.module, order) if order else self.model.module

    def tensor(self, items: Sequence[Item]) -> Float[Tensor, "batch ..."]:
        """The model's input for a batch, on its device."""
        device = next(self.model.module.parameters()).device
        return torch.stack([item.pixels for item in items]).to(device)

    @property
    def black(self) -> Float[Tensor, "3 1 1"] | None:
        """What black is in the unit of the model's input; None where nothing is, as in what are no photographs."""
        colours = colours_of(self.model.preprocessing)
        return None if colours is None else -colours[0] / colours[1]

    def row(self, task: Task, item: Item, method: str, target: int, predicted: int) -> Row:
        """A row without its numbers. An image's prediction is correct if it is a class that is in it."""
        label = item.labels.get(target) if item.whole is None else item.labels.get(target, item.whole.label)
        return {
            "task": task,
            "image": item.id,
            "method": method,
            "target": target,
            "class_name": self.class_name(target, label),
            "label": next(iter(item.labels.values()), None) if label is None else label,
            "predicted": predicted,
            "correct": predicted in item.labels,
            "error": None,
            **item.made_from._asdict(),
        }

    def class_name(self, target: int, label: int | None) -> str:
        """The model's name for a class, or else the dataset's; its number where neither has one.

        Args:
            target: the model's class.
            label: the dataset's, if it is known; else the first that is the model's class.
        """
        if self.model.class_names:
            return self.model.class_names[target]
        if label is None and target in self.model_indices:
            label = self.model_indices.index(target)
        return f"class {target}" if label is None else self.dataset.classes[label].name

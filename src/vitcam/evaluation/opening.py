"""The dataset and the model of a run, which must be of the same kind of input."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitcam.errors import DatasetError, ModelError, RunError
from vitcam.evaluation.datasets import Dataset, open_dataset, torch_dataset
from vitcam.evaluation.datasets.kinds import KINDS, find_dataset, split_spec
from vitcam.evaluation.datasets.torch_dataset import Indexed
from vitcam.evaluation.measure import Protocol, Task
from vitcam.evaluation.protocol import protocol_preprocessing
from vitcam.inputs import told
from vitcam.models import LoadedModel, Preprocessing, load_model

Data = str | Dataset | Indexed


def opened(
    data: Data,
    options: Mapping[str, Any],
    model: str | LoadedModel,
    tasks: Sequence[Task],
    protocol: Protocol,
) -> tuple[Dataset, LoadedModel]:
    """The dataset, of what the model takes, and the model, with the protocol's preprocessing.

    Args:
        data, model: as for ``evaluate``.
        options: for the dataset's reader.
        tasks: of the run.
        protocol: whose preprocessing photographs get.

    Raises:
        DatasetError: as from ``open_dataset``; or it holds something else than the model takes.
        RunError: one of the tasks is of photographs, and the model takes something else.
        ModelError: as from ``load_model``; or the model takes its inputs otherwise than their preprocessing says.
    """
    if isinstance(data, str):
        find_dataset(data)  # what isn't there is said before a model is loaded
    loaded = load_model(model) if isinstance(model, str) else model
    dataset = _dataset(data, options, loaded)
    _check_same(dataset, loaded, tasks)
    return dataset, _ready(loaded, dataset, protocol)


def _dataset(data: Data, options: Mapping[str, Any], model: LoadedModel) -> Dataset:
    if isinstance(data, str):
        reads_others = "files" in find_dataset(data)[0].options and not _takes_photographs(model)
        files = {"files": model.preprocessing.files} if reads_others else {}
        return open_dataset(data, **{**files, **options})
    return data if isinstance(data, Dataset) else torch_dataset(data, **options)


def _takes_photographs(model: LoadedModel) -> bool:
    return isinstance(model.preprocessing, Preprocessing)


def _check_same(dataset: Dataset, model: LoadedModel, tasks: Sequence[Task]) -> None:
    what = model.preprocessing.files.what
    if dataset.holds != what:
        raise DatasetError(
            f"{model.spec} takes {what}, and the {dataset.kind} dataset at {dataset.root} is of {dataset.holds}: "
            f"give --data folder:DIR, a folder with a folder of {what} for each class"
        )
    if _takes_photographs(model):
        return
    of_photographs = [task for task in tasks if task != "perturbation"]
    if of_photographs:
        raise RunError(
            f"{' and '.join(of_photographs)} needs photographs, and {model.spec} takes {what}: of these measure "
            "perturbation (vitcam evaluate perturbation)"
        )
    _check_axes(model)


def _check_axes(model: LoadedModel) -> None:
    """Makes sure that inputs are taken as the preprocessing says, also where their axes could mean something else."""
    own = model.preprocessing
    like = next(model.module.parameters()).new_zeros(1, *own.shape)
    _kind, order = told(model.module, like, own.kind.name)
    if order != own.order:
        raise ModelError(
            f"{type(own).__name__} says that {model.spec} takes (batch, {', '.join(map(str, own.shape))}), and by "
            "its first convolution another of these axes is the channels: which is right isn't known. Take another "
            "number of frames"
        )


def _ready(model: LoadedModel, dataset: Dataset, protocol: Protocol) -> LoadedModel:
    """The model with the protocol's preprocessing, and with the dataset's classes if it reads."""
    if model.promptable and not model.class_names:
        names = [item.name.split(",")[0] for item in dataset.classes]
        ids = [(item.wordnet_id,) if item.wordnet_id else () for item in dataset.classes]
        prompted = model.with_prompts([f"a photo of a {name}" for name in names])
        model = replace(prompted, class_names=tuple(names), wordnet_ids=tuple(ids) if any(ids) else None)
    return replace(model, preprocessing=protocol_preprocessing(protocol, model.preprocessing))


def logits_of_model(model: LoadedModel) -> int | None:
    """How many classes a model has that has no names for them."""
    if model.class_names:
        return None
    import torch

    from vitcam.recording import logits_of, preserved

    parameter = next(model.module.parameters())
    with torch.no_grad(), preserved(model.module):
        return logits_of(model.module(parameter.new_zeros(1, *model.preprocessing.shape))).shape[1]


def from_anywhere(data: Data) -> Data:
    """A dataset's specification that holds in other folders too, where a cluster's workers and reports start."""
    if not isinstance(data, str) or ":" not in data:
        return data
    kind, path = split_spec(data)
    if kind in KINDS and KINDS[kind].of == "dataset":
        return f"{kind}:{from_anywhere(path)}"
    home = os.path.expanduser(path)  # noqa: PTH111  Path.expanduser raises for the home of nobody known
    return f"{kind}:{Path(home).absolute()}" if path else data

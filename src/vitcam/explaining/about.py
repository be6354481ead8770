"""What kinds of answer are told of a model before it is explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitcam.answers import About
from vitcam.explaining.inputs import batches
from vitcam.explaining.tiles import TiledPicture
from vitcam.inputs import PICTURE, InputKind, arranged_as_picture
from vitcam.models.classes import find_class
from vitcam.models.device import on_device, sent_to
from vitcam.models.loaded import LoadedModel
from vitcam.recording import Inputs, autocast, bound, preserved


def about_model(
    module: nn.Module,
    loaded: LoadedModel | None,
    images: Tensor | TiledPicture | Sequence[Any],
    batch_size: int | None,
    device: str | torch.device | None,
    inputs: Inputs,
    kind: InputKind = PICTURE,
) -> About:
    """What is known of a model.

    Args:
        module: what is run.
        loaded: the loaded model that it is of, if it is of one.
        images: those that are explained.
        batch_size, device: as for :func:`vitcam.explain`.
        inputs: what the model is given besides the images; other images are given what belongs to none.
        kind: of input.

    Example:
        >>> about_model(model, None, images, None, None, Inputs()).is_classifier
        True
    """

    def outputs(others: Any) -> Iterator[Any]:
        if isinstance(others, Tensor):
            others = arranged_as_picture(others, inputs.axes)
        shared = inputs.mapped(lambda tensor: tensor.to(next(module.parameters(), tensor).device))
        with (
            on_device(module, device) as where,
            preserved(module),
            torch.no_grad(),
            autocast(where, "fp32"),
            bound(module, replace(shared, per_image={})),
            closing(batches(others, loaded, batch_size, kind)) as found,
        ):
            for batch in found:
                yield module(sent_to(where, batch.tensor))

    count, names = len(images), _names(module, loaded)
    index = None if names is None else loaded.class_index if loaded and loaded.class_names else None
    if index is None and names is not None:
        index = partial(_index, names, type(module).__name__)
    if isinstance(images, TiledPicture):
        images = images[:1]
    if isinstance(images, Tensor):
        size = (images.shape[-2], images.shape[-1])
    else:
        known = loaded is not None and loaded.preprocessing is not None
        size = (loaded.preprocessing.size[-2], loaded.preprocessing.size[-1]) if loaded and known else (0, 0)
    return About(module, count, size, outputs, names, index, _is_classifier(module, loaded))


def _names(module: nn.Module, loaded: LoadedModel | None) -> tuple[str, ...] | None:
    if loaded is not None and loaded.class_names:
        return loaded.class_names
    labels = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(labels, dict) or not labels or set(labels) != set(range(len(labels))):
        return None
    names = tuple(str(labels[index]) for index in range(len(labels)))
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def _index(names: tuple[str, ...], model: str, name: str) -> int:
    return find_class(name, names, (), model)


def _is_classifier(module: nn.Module, loaded: LoadedModel | None) -> bool:
    """Whether it is known that a model gives logits: by its class names, its name, or timm's own word."""
    if (loaded is not None and loaded.class_names) or "ForImageClassification" in type(module).__name__:
        return True
    classifier = getattr(module, "get_classifier", None)
    return callable(classifier) and isinstance(classifier(), nn.Linear)

"""Linear heads for classes of one's own, trained on the features of a frozen model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.models.loaded import LoadedModel
from vitcam.models.promptable import ImageTower

_KEY = "vitcam_head"


@dataclass(frozen=True)
class LinearHead:
    """A linear layer from a model's features to classes.

    Attributes:
        weight: (classes, features).
        bias: (classes,).
        model: the specification of the model that it was trained on.
        layer: the name of the model's own classifier, whose place it takes; "" if it is put on top.
        class_names: one per class.
        wordnet_ids: per class the WordNet ids that it stands for.
        multi_label: whether the classes' probabilities are sigmoids, each on its own, instead of a softmax.
    """

    weight: Float[Tensor, "classes features"]
    bias: Float[Tensor, " classes"]
    model: str
    layer: str
    class_names: tuple[str, ...]
    wordnet_ids: tuple[tuple[str, ...], ...] | None
    multi_label: bool


class WithHead(nn.Module):
    """A model whose output are features, and a head on top of it."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        logits: Tensor = self.head(_features(self.backbone, images))
        return logits


def find_classifier(model: LoadedModel) -> str:
    """The name of the linear layer that gives a model's logits, or "" if there is none."""
    if isinstance(model.module, ImageTower):
        return ""
    outputs: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
        for name, module in model.module.named_modules()
        if isinstance(module, nn.Linear) and name
    ]
    try:
        with torch.no_grad():
            logits = _features(model.module, _blank(model))
    finally:
        for hook in hooks:
            hook.remove()
    return next((name for name, output in outputs.items() if output is logits), "")


@contextmanager
def feature_extractor(
    model: LoadedModel, layer: str
) -> Iterator[Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch features"]]]:
    """Inside the ``with``: a function from images to what a head in the place of ``layer`` is given."""
    if not layer:
        yield lambda images: _features(model.module, images)
        return
    inputs: list[Tensor] = []
    classifier = model.module.get_submodule(layer)
    hook = classifier.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))

    def extract(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        inputs.clear()
        model.module(images)
        return inputs[-1]

    try:
        yield extract
    finally:
        hook.remove()


def head_bytes(head: LinearHead) -> bytes:
    """A head as a safetensors file; what isn't a tensor is in its metadata."""
    described = {
        "model": head.model,
        "layer": head.layer,
        "class_names": head.class_names,
        "wordnet_ids": head.wordnet_ids,
        "multi_label": head.multi_label,
    }
    # under a single key: safetensors writes several in an order that changes from time to time
    content: bytes = save(
        {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}, {_KEY: json.dumps(described)}
    )
    return content


def read_head(path: Path) -> LinearHead:
    """Reads a head.

    Raises:
        ModelError: the file is missing, damaged, or no head.
    """
    if not path.is_file():
        raise ModelError(f"there is no head {path}: train one with `vitcam train-head --output {path}`")
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get(_KEY)
            if described is None:
                raise ModelError(
                    f"{path} isn't a head that `vitcam train-head` wrote: it holds other weights"
                )
            known = json.loads(described)
            ids = known.pop("wordnet_ids")
            return LinearHead(
                weight=file.get_tensor("weight"),
                bias=file.get_tensor("bias"),
                class_names=tuple(known.pop("class_names")),
                wordnet_ids=None if ids is None else tuple(map(tuple, ids)),
                **known,
            )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the head {path} is damaged ({error}): train it again") from error


def with_head(model: LoadedModel, head: LinearHead, spec: str) -> LoadedModel:
    """A model with a head in the place of its own, and the head's classes.

    Args:
        model: the one that the head was trained on. Its module is changed.
        head: the head.
        spec: what the result is to be called.

    Raises:
        ModelError: the head is for another model.
    """
    classes, features = head.weight.shape
    linear = nn.Linear(features, classes)
    linear.load_state_dict({"weight": head.weight, "bias": head.bias})
    linear = linear.to(next(model.module.parameters()))
    if not _fits(model, head):
        raise ModelError(
            f"can't load {spec}: the head was trained on {head.model}, on {features} features, which this "
            "model doesn't give. Load it with that model, or train one for this model"
        )
    module = WithHead(model.module, linear)
    if head.layer:
        parent, _, name = head.layer.rpartition(".")
        setattr(model.module.get_submodule(parent), name, linear)
        module = model.module  # type: ignore[assignment]  # a module either way
    return replace(
        model,
        module=module.eval(),
        class_names=head.class_names,
        wordnet_ids=head.wordnet_ids,
        text_encoder=None,
        spec=spec,
        multi_label=head.multi_label,
    )


def _fits(model: LoadedModel, head: LinearHead) -> bool:
    if head.model.partition("@")[0] != model.spec.partition("@")[0]:  # a checkpoint may have been moved
        return False
    features = head.weight.shape[1]
    if head.layer:
        layers = dict(model.module.named_modules())
        own = layers.get(head.layer)
        return isinstance(own, nn.Linear) and own.in_features == features
    with torch.no_grad():
        return _features(model.module, _blank(model)).shape[1] == features


def _features(module: nn.Module, images: Float[Tensor, "batch 3 height width"]) -> Tensor:
    if isinstance(module, ImageTower):
        return module.encode(images)
    output = module(images)
    output = getattr(output, "logits", output)
    found = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise ModelError(
            f"{type(module).__name__} gives neither logits nor features of shape (batch, features), so no "
            "linear head can be put on it"
        )
    return found


def _blank(model: LoadedModel) -> Float[Tensor, "1 3 height width"]:
    return next(model.module.parameters()).new_zeros(1, 3, *model.preprocessing.size)

"""Models of timm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.models.checkpoint import misfit, read_checkpoint
from vitcam.models.hub import hugging_face
from vitcam.models.imagenet import imagenet_classes, imagenet_wordnet_ids
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing, ResizeMode
from vitcam.models.spec import Spec, unknown_name
from vitcam.models.wrapping import Known

_RESIZE_MODES: dict[str, ResizeMode] = {"center": "shortest", "squash": "squash", "border": "longest"}


def load_timm(spec: Spec, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """``timm:NAME`` or ``timm:NAME@FILE``: timm's own module, unmodified.

    A checkpoint's number of classes is that of its head; timm itself adapts its position embedding.
    Names and WordNet ids are ImageNet's where the number of classes is that of an ImageNet variant.

    Raises:
        ModelError: no such name or tag, no weights, or weights that don't fit.
    """
    _check_name(spec)
    if spec.file:
        module = _from_checkpoint(spec)
    elif pretrained:
        module = _from_hub(spec)
    else:
        module = timm.create_model(spec.name, num_classes=num_classes)
    return _loaded(spec, module)


def load_timm_repository(spec: Spec, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """A model that timm has saved in a folder, or on the Hugging Face hub, with its own class names."""
    source = "local-dir" if Path(spec.name).is_dir() else "hf-hub"
    module = timm.create_model(f"{source}:{spec.name}", pretrained=pretrained, num_classes=num_classes)
    return _loaded(spec, module)


def timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """What ``timm.data.create_transform(**config)`` does, declared.

    Args:
        config: as ``timm.data.resolve_data_config`` gives it.
    """
    height, width = config["input_size"][-2:]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if len(mean) != 3:
        raise ModelError(f"Expected a model of RGB images, got one of {len(mean)} channels.")
    before_crop = [math.floor(length / config["crop_pct"]) for length in (height, width)]
    border = config["crop_mode"] == "border"
    return Preprocessing(
        size=(height, width),
        mean=mean,
        std=std,
        interpolation=config["interpolation"],
        resize_mode=_RESIZE_MODES[config["crop_mode"]],
        resize=(before_crop[0], before_crop[1]),
        fill=tuple(round(255 * value) for value in mean) if border else (0, 0, 0),
    )


def timm_names() -> list[str]:
    """All that ``timm:`` can load: those with weights by the names of these, the others by theirs."""
    tagged = timm.list_models(pretrained=True)
    named = {name.partition(".")[0] for name in tagged}
    return sorted([*tagged, *(name for name in timm.list_models() if name not in named)])


def known_of_timm(module: Any) -> Known:
    """What the ``pretrained_cfg`` of a model in memory says of it.

    It holds for the classes that the model was trained for: with another number of them by now, they are unknown.
    """
    config = getattr(module, "pretrained_cfg", None)
    if not config:
        return Known(module)
    classes = getattr(module, "num_classes", None)
    names, ids = _classes(config, classes) if classes == config.get("num_classes") else (None, None)
    preprocessing = timm_preprocessing(timm.data.resolve_model_data_config(module))
    return Known(module, preprocessing, class_names=names, wordnet_ids=ids)


def _loaded(spec: Spec, module: Any) -> LoadedModel:
    class_names, wordnet_ids = _classes(module.pretrained_cfg, module.num_classes)
    preprocessing = timm_preprocessing(timm.data.resolve_model_data_config(module))
    return LoadedModel(module, preprocessing, class_names, wordnet_ids, spec=str(spec))


def _classes(
    config: Mapping[str, Any], count: int
) -> tuple[tuple[str, ...] | None, tuple[tuple[str, ...], ...] | None]:
    """(class names, WordNet ids) of a model with so many classes, as far as they are known."""
    labels = config.get("label_names") or ()
    if len(labels) != count:
        return imagenet_classes(count) or (None, None)
    descriptions = config.get("label_descriptions") or {}
    class_names = tuple(descriptions.get(label, label) for label in labels)
    return class_names, imagenet_wordnet_ids(class_names)


def _check_name(spec: Spec) -> None:
    architecture, dot, tag = spec.name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name(spec, architecture, timm.list_models())
    tags = [name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", pretrained=True)]
    if dot and tag not in tags:
        raise unknown_name(spec, tag, tags, what=f"weights for {architecture}")


def _from_hub(spec: Spec) -> Any:
    config = timm.get_pretrained_cfg(spec.name)
    if config is not None and not config.has_weights:
        raise ModelError(
            f"Can't load {spec}: timm has no weights for it. Expected a checkpoint, timm:{spec.name}@FILE, or "
            f"pretrained=False for random weights."
        )
    repository = config and config.hf_hub_id
    with hugging_face(spec, local=f"timm:{spec.name}@FILE.safetensors", repository=repository):
        return timm.create_model(spec.name, pretrained=True)


def _from_checkpoint(spec: Spec) -> Any:
    weights = read_checkpoint(spec)
    classes = _classes_of_head(spec.name, weights)
    overlay = {"state_dict": weights, "num_classes": classes, "label_offset": 0}
    try:
        module = timm.create_model(
            spec.name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes
        )
    except Exception as error:  # timm's conversions of foreign checkpoints raise nearly anything
        raise misfit(spec, error) from error
    module.pretrained_cfg.pop("state_dict")  # or the weights would stay in memory twice
    return module


def _classes_of_head(name: str, weights: Mapping[str, Tensor]) -> int:
    """The number of classes in a checkpoint's head, or the architecture's own if it has no such head."""
    config = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()  # timm's old names have none
    heads = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ("head",)
    for head in heads:
        if f"{head}.weight" in weights:
            return len(weights[f"{head}.weight"])
    classes: int = config.num_classes
    return classes

"""Classification models of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from vitcam.errors import ModelError
from vitcam.models.checkpoint import misfit, read_checkpoint
from vitcam.models.hub import download
from vitcam.models.imagenet import imagenet_wordnet_ids
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.spec import Spec, unknown_name
from vitcam.models.wrapping import Known


def load_torchvision(spec: Spec, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """``torchvision:NAME``, ``torchvision:NAME/WEIGHTS`` or ``torchvision:NAME@FILE``: torchvision's module.

    Without WEIGHTS, the preprocessing and the class names are those of torchvision's default weights. A
    checkpoint's number of classes is that of its head.

    Raises:
        ModelError: no such name or weights, the download failed, or weights that don't fit.
    """
    name, weights = _find(spec)
    if spec.file:
        module, classes = _from_checkpoint(spec, name, weights)
    elif pretrained:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
        with download(weights.url, cached, spec, local=f"torchvision:{name}@FILE.pth"):
            # torchvision itself would run code that is in the file; this refuses a file with code in it
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
            module = models.get_model(name, weights=weights, progress=False)
        classes = None
    else:
        module, classes = _untrained(name, weights, num_classes), num_classes
    class_names = tuple(weights.meta["categories"])
    if classes not in (None, len(class_names)):
        return LoadedModel(module, torchvision_preprocessing(weights.transforms()), spec=str(spec))
    return LoadedModel(
        module,
        torchvision_preprocessing(weights.transforms()),
        class_names,
        imagenet_wordnet_ids(class_names),
        spec=str(spec),
    )


def known_of_torchvision(module: nn.Module, weights: Any) -> Known:
    """What the weights of a model in memory say of it, a member of one of torchvision's enums; without them, nothing.

    Raises:
        ModelError: the weights are no such member.
    """
    if weights is None:
        remedy = (
            "weights=, the member of torchvision's enum that it was made with, such as "
            "torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1; or preprocessing= (and class_names=)"
        )
        return Known(module, remedy=remedy)
    if not isinstance(weights, models.WeightsEnum):
        raise ModelError(
            "weights must be a member of one of torchvision's enums, such as "
            f"torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1; got {weights!r:.80}"
        )
    names = weights.meta.get("categories")
    return Known(
        module,
        preprocessing=weights.transforms(),
        class_names=tuple(names) if names else None,
        wordnet_ids=imagenet_wordnet_ids(names) if names else None,
    )


def torchvision_preprocessing(transforms: Any) -> Preprocessing:
    """What the ``transforms`` of torchvision's classification weights do, declared."""
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return Preprocessing(
        size=(crop, crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
        resize_mode="shortest",
        resize=(resize, resize),
    )


def torchvision_names() -> list[str]:
    """All that ``torchvision:`` can load."""
    return list(models.list_models(module=models))


def _find(spec: Spec) -> tuple[str, Any]:
    """(name, the weights entry that says how its images are prepared)."""
    name, tag = spec.split_name()
    known = torchvision_names()
    if name not in known:
        raise unknown_name(spec, name, known)
    entries = models.get_model_weights(name)
    if tag is None:
        return name, entries.DEFAULT
    if tag not in entries.__members__:
        raise unknown_name(spec, tag, entries.__members__, what=f"weights for {name}")
    return name, entries[tag]


def _untrained(name: str, weights: Any, num_classes: int | None) -> Any:
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name.startswith("vit_"):
        options["image_size"] = weights.transforms().crop_size[0]
    return models.get_model(name, weights=None, **options)


def _from_checkpoint(spec: Spec, name: str, weights: Any) -> tuple[nn.Module, int | None]:
    state = read_checkpoint(spec)
    with torch.device("meta"):
        skeleton = _untrained(name, weights, None)
    linears = [key for key, layer in skeleton.named_modules() if isinstance(layer, nn.Linear)]
    head = state.get(f"{linears[-1]}.weight")
    classes = None if head is None else len(head)
    module = _untrained(name, weights, classes)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise misfit(spec, error) from error
    return module, classes

"""The models that come with vitcam."""

from __future__ import annotations

import json
from importlib import resources

import timm
from safetensors.torch import load

from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.spec import Spec, unknown_name

_PREPROCESSING = Preprocessing(
    size=(168, 168), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic"
)


def load_embedded(spec: Spec, *, pretrained: bool, num_classes: None = None) -> LoadedModel:
    """``embedded:photo``: DINOv2's ViT-S/14 cut to 6 blocks, for 62 everyday classes.

    ``embedded/CARD.md`` says how it was made and what it is good for.

    Raises:
        ModelError: there is no embedded model of this name.
    """
    if spec.name != "photo":
        raise unknown_name(spec, spec.name, ["photo"])
    folder = resources.files("vitcam.models") / "embedded"
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    module = timm.create_model(
        "vit_small_patch14_dinov2",
        depth=6,
        num_classes=len(labels),
        img_size=112,
        dynamic_img_size=True,
        weight_init="skip" if pretrained else "",
    )
    if pretrained:
        weights = load((folder / "photo_vit.safetensors").read_bytes())
        module.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return LoadedModel(
        module,
        _PREPROCESSING,
        class_names=tuple(label["name"] for label in labels),
        wordnet_ids=tuple(tuple(label["wordnet_ids"]) for label in labels),
        spec=str(spec),
    )

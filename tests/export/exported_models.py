"""Models small enough to be exported in a few seconds."""

from __future__ import annotations

import torchvision
from torch import nn

import small_models
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing

SIZE = (32, 48)


def timm_vit() -> nn.Module:
    return small_models.timm_vit(img_size=SIZE, depth=2, embed_dim=24, num_heads=3, num_classes=7)


def torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=4)


_HUGGING_FACE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}


def hf_deit() -> nn.Module:
    kind, config = "DeiTForImageClassificationWithTeacher", "DeiTConfig"
    return small_models.hugging_face(kind, config, **_HUGGING_FACE, num_labels=3)


def hf_dinov2() -> nn.Module:
    kind, config = "Dinov2ForImageClassification", "Dinov2Config"
    return small_models.hugging_face(kind, config, **_HUGGING_FACE, num_labels=6)


def far_from_zero(model: nn.Module) -> nn.Module:
    return small_models.perturbed(model, 0.1)


def loaded(model: nn.Module) -> LoadedModel:
    preprocessing = Preprocessing(
        size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3), resize=(40, 60), resize_mode="shortest"
    )
    names = ("ant", "bee", "cat", "dog", "élan", "fly, midge", "gnu")
    ids = tuple((f"n{index:08d}",) for index in range(len(names)))
    return LoadedModel(model, preprocessing, class_names=names, wordnet_ids=ids, spec="timm:tiny")

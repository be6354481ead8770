"""Models small enough to be exported in a few seconds."""

from __future__ import annotations

import timm
import torch
import torchvision
import transformers
from torch import nn

from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing

SIZE = (32, 48)


def timm_vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=SIZE, depth=2, embed_dim=24, num_heads=3, num_classes=7
    )


def torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=4)


def hf_deit() -> nn.Module:
    config = transformers.DeiTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    return transformers.DeiTForImageClassificationWithTeacher(config)


def hf_dinov2() -> nn.Module:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8, num_labels=6
    )
    return transformers.Dinov2ForImageClassification(config)


def far_from_zero(model: nn.Module) -> nn.Module:
    """Weights larger than the usual start, so that attention isn't uniform and heads aren't zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def loaded(model: nn.Module) -> LoadedModel:
    preprocessing = Preprocessing(
        size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3), resize=(40, 60), resize_mode="shortest"
    )
    names = ("ant", "bee", "cat", "dog", "élan", "fly, midge", "gnu")
    ids = tuple((f"n{index:08d}",) for index in range(len(names)))
    return LoadedModel(model, preprocessing, class_names=names, wordnet_ids=ids, spec="timm:tiny")

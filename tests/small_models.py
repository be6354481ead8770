"""Small models with random weights that are far from their start, for tests of every room."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torchvision
import transformers
from torch import nn

_HUGGING_FACE = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
}


def perturbed(model: nn.Module, matrices: float = 0.05, vectors: float | None = None) -> nn.Module:
    """The model in evaluation mode, noise added to its weights.

    So attention isn't uniform, no head is zero and no layer scale hides a layer.

    Args:
        matrices, vectors: standard deviations, of parameters of two or more dimensions and of the others; the
            same if None.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = matrices if parameter.dim() > 1 or vectors is None else vectors
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def timm_vit(**options: Any) -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", **{"depth": 3, "img_size": 64, "num_classes": 9, **options}
    )


def torchvision_vit(classes: int = 9) -> nn.Module:
    return torchvision.models.VisionTransformer(64, 16, 3, 4, 48, 96, num_classes=classes)


def hugging_face(kind: str, config: str, **options: Any) -> nn.Module:
    """A model of transformers, from the names of its class and of its configuration's."""
    settings = getattr(transformers, config)(**{**_HUGGING_FACE, **options})
    return getattr(transformers, kind)(settings)


def hugging_face_dual(kind: str, config: str, classes: int, **options: Any) -> nn.Module:
    """The classifier of an image and text model."""
    settings = getattr(transformers, config)(vision_config={**_HUGGING_FACE, **options})
    settings.num_labels = classes
    return getattr(transformers, kind)(settings)

"""The families of Vision Transformers that every method is tested on: small, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import open_clip
import timm
import torch
import torchvision
from torch import nn

from small_models import hugging_face, hugging_face_dual, perturbed, torchvision_vit
from vitcam.types import PatchGrid

CLASS_TOKEN, CLASS_AND_DISTILLATION, PATCHES, CLASS_AND_PATCHES, POOLING = (
    "class token",
    "class and distillation token",
    "patches",
    "class token and patches",
    "pooling attention",
)


@dataclass(frozen=True)
class Family:
    """A model, and what vitcam must find out about it.

    ``head`` is what the head reads; ``target`` how logits are had from a model that gives none.
    """

    build: Callable[[], nn.Module]
    size: int
    grid: PatchGrid
    head: str
    replays: bool
    layers: int
    target: Callable[[Any], torch.Tensor] | None = None
    # Attentions outside the blocks; whether they are among ``layers`` is in ``head``.
    pooling_layers: int = 0


def _timm(name: str, **options: Any) -> nn.Module:
    return timm.create_model(name, **options)


def _torchvision_deep() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        64, 16, num_layers=12, num_heads=3, hidden_dim=96, mlp_dim=192
    )
    nn.init.normal_(model.heads.head.weight, std=0.1)
    return model


_hf = partial(hugging_face, num_labels=9, initializer_range=0.1)
_hf_dual = partial(hugging_face_dual, classes=9, initializer_range=0.1)


def _open_clip() -> nn.Module:
    vision = {"layers": 3, "width": 96, "head_width": 32, "patch_size": 16, "image_size": 64}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    return open_clip.CLIP(32, vision_cfg=vision, text_cfg=text).visual


def _pooled(output: Any) -> torch.Tensor:
    return output.pooler_output[:, :2]


def _grid(side: int, prefix: int, width: int | None = None) -> PatchGrid:
    return PatchGrid(side, width or side, prefix)


FAMILIES: dict[str, Family] = {
    "timm vit": Family(
        partial(_timm, "vit_tiny_patch16_224", depth=4), 224, _grid(14, 1), CLASS_TOKEN, True, 4
    ),
    "timm deit distilled": Family(
        partial(_timm, "deit_tiny_distilled_patch16_224", depth=4, img_size=112),
        112,
        _grid(7, 2),
        CLASS_AND_DISTILLATION,
        True,
        4,
    ),
    "timm dinov2 registers": Family(
        partial(_timm, "vit_small_patch14_reg4_dinov2", depth=4, img_size=112, num_classes=9),
        112,
        _grid(8, 5),
        CLASS_TOKEN,
        True,
        4,
    ),
    "timm dinov3": Family(
        partial(_timm, "vit_small_patch16_dinov3", depth=4, num_classes=9),
        128,
        _grid(8, 5),
        PATCHES,
        False,
        4,
    ),
    "timm eva02": Family(
        partial(_timm, "eva02_tiny_patch14_224", depth=3, img_size=112, num_classes=9),
        112,
        _grid(8, 1),
        PATCHES,
        False,
        3,
    ),
    "timm beit": Family(
        partial(_timm, "beit_base_patch16_224", depth=2, img_size=96), 96, _grid(6, 1), PATCHES, False, 2
    ),
    "timm siglip": Family(
        partial(_timm, "vit_base_patch16_siglip_224", depth=2, img_size=96, num_classes=9),
        96,
        _grid(6, 0),
        POOLING,
        False,
        3,
        pooling_layers=1,
    ),
    "timm pe": Family(
        partial(_timm, "vit_pe_core_tiny_patch16_384", depth=3, img_size=96, num_classes=9),
        96,
        _grid(6, 1),
        POOLING,
        False,
        4,
        pooling_layers=1,
    ),
    "timm gap": Family(
        partial(_timm, "vit_tiny_patch16_224", depth=4, img_size=112, class_token=False, global_pool="avg"),
        112,
        _grid(7, 0),
        PATCHES,
        False,
        4,
    ),
    "timm flexivit": Family(
        partial(_timm, "flexivit_small", depth=3, img_size=120),
        120,
        PatchGrid(7, 7, 1, region=(0, 0, 112, 112)),
        CLASS_TOKEN,
        True,
        3,
    ),
    "timm cait": Family(
        partial(_timm, "cait_xxs24_224", depth=4, img_size=112), 112, _grid(7, 1), CLASS_TOKEN, False, 2
    ),
    "torchvision vit": Family(torchvision_vit, 64, _grid(4, 1), CLASS_TOKEN, True, 3),
    "torchvision vit, 12 layers": Family(_torchvision_deep, 64, _grid(4, 1), CLASS_TOKEN, True, 12),
    "hf vit": Family(
        partial(_hf, "ViTForImageClassification", "ViTConfig"), 64, _grid(4, 1), CLASS_TOKEN, True, 3
    ),
    "hf vit eager": Family(
        partial(_hf, "ViTForImageClassification", "ViTConfig", attn_implementation="eager"),
        64,
        _grid(4, 1),
        CLASS_TOKEN,
        True,
        3,
    ),
    "hf deit": Family(
        partial(_hf, "DeiTForImageClassificationWithTeacher", "DeiTConfig"),
        64,
        _grid(4, 2),
        CLASS_AND_DISTILLATION,
        True,
        3,
    ),
    "hf beit": Family(
        partial(_hf, "BeitForImageClassification", "BeitConfig", use_relative_position_bias=True),
        64,
        _grid(4, 1),
        PATCHES,
        False,
        3,
    ),
    "hf dinov2": Family(
        partial(_hf, "Dinov2ForImageClassification", "Dinov2Config"),
        64,
        _grid(4, 1),
        CLASS_AND_PATCHES,
        False,
        3,
    ),
    "hf dinov2 registers": Family(
        partial(_hf, "Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig"),
        64,
        _grid(4, 5),
        CLASS_AND_PATCHES,
        False,
        3,
    ),
    "hf clip": Family(
        partial(_hf_dual, "CLIPForImageClassification", "CLIPConfig"), 64, _grid(4, 1), PATCHES, False, 3
    ),
    "hf clip vision": Family(
        partial(_hf, "CLIPVisionModel", "CLIPVisionConfig"), 64, _grid(4, 1), CLASS_TOKEN, True, 3, _pooled
    ),
    "hf siglip": Family(
        # The pooling attention is computed, but this head averages the tokens and doesn't read it.
        partial(_hf_dual, "SiglipForImageClassification", "SiglipConfig"),
        64,
        _grid(4, 0),
        PATCHES,
        False,
        3,
        pooling_layers=1,
    ),
    "hf siglip vision": Family(
        partial(_hf, "SiglipVisionModel", "SiglipVisionConfig"),
        64,
        _grid(4, 0),
        POOLING,
        False,
        4,
        _pooled,
        pooling_layers=1,
    ),
    "open_clip": Family(_open_clip, 64, _grid(4, 1), CLASS_TOKEN, True, 3),
}


@cache
def model_of(name: str) -> nn.Module:
    """A family's model, built once; tests that change a model build their own."""
    torch.manual_seed(0)
    return perturbed(FAMILIES[name].build(), matrices=0.02, vectors=0.1)


def images_of(name: str, batch: int = 3) -> torch.Tensor:
    size = FAMILIES[name].size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))

"""Small models with random weights that are far from their start, for tests of every room."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
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


def torchs_attention(q, k, v, dropout):
    return F.scaled_dot_product_attention(q, k, v)


class HomemadeBlock(nn.Module):
    """A pre-norm block whose attention is a function of q, k, v (batch, heads, tokens, dim) and a dropout."""

    def __init__(self, attend=torchs_attention, width=24, heads=3):
        super().__init__()
        self.attend, self.heads = attend, heads
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(self.attend(q, k, v, self.dropout).transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class HomemadeViT(nn.Module):
    """A plain ViT with a class token and three blocks, as people write them: patches of 8 pixels, any size.

    Args:
        attend: the blocks' attention.
        pool: "class" or "mean", what the head reads.
        head: from the pooled features to the output; a linear layer to five classes if None.
    """

    def __init__(self, attend=torchs_attention, pool="class", head=None, width=24):
        super().__init__()
        torch.manual_seed(0)
        self.pool = pool
        self.patches, self.class_token = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(HomemadeBlock(attend) for _ in range(3))
        self.head = nn.Linear(width, 5) if head is None else head

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0] if self.pool == "class" else x[:, 1:].mean(1))

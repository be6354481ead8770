"""Cases of sanity, as a run makes them."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer

from vitcam.evaluation.randomising import Twin
from vitcam.evaluation.sanity_case import SanityCase, explained


def tiny_model():
    """Of five classes, for images of 32 × 24 pixels."""
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=(32, 24), patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=5
    )
    for parameter in model.parameters():
        parameter.data.normal_(std=0.4)
    return model.eval()


def make_case(model, images, methods, seed=0, **changed) -> SanityCase:
    maps, targets = explained(model, methods, images, None, "fp32")
    given = {
        "heatmaps": maps.heatmaps,
        "on_grid": maps.on_grid,
        "targets": targets.repeat(len(methods)),
        "logits": maps.logits,
        "multi_label": False,
        "precision": "fp32",
        "seed": seed,
        "twin": Twin(model, seed),
    }
    return SanityCase(model, tuple(methods), images, **{**given, **changed})

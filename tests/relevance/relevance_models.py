"""Small models with random weights, the same in any process, and what tests of relevance do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import small_models
from small_models import hugging_face
from vitcam.methods.relevance import RuleSet, trace


def randomized(model: nn.Module, std: float = 0.1) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        with torch.no_grad():
            centre = (
                1.0 if parameter.ndim == 1 and parameter.numel() and bool((parameter == 1).all()) else 0.0
            )
            parameter.copy_(centre + std * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def random_images(count: int = 2, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def logits_of(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    found = output.logits if hasattr(output, "logits") else output[0]
    assert isinstance(found, Tensor)
    return found


def propagated(function: Callable[..., Tensor], x: Tensor, relevance: Tensor, rules: RuleSet) -> Tensor:
    """The message at the input of a function when ``relevance`` is at its output."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    traced = trace(Model(), x, rules)
    (message,) = traced.relevance((traced.output * relevance).flatten(1).sum(1), [traced.images])
    return message


def timm_vit(depth: int = 3, **settings: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    settings = {
        "img_size": 64,
        "patch_size": 16,
        "embed_dim": 48,
        "num_heads": 4,
        "num_classes": 7,
        **settings,
    }
    return randomized(VisionTransformer(depth=depth, **settings))


def timm_siglip() -> nn.Module:
    return timm_vit(global_pool="map", class_token=False)


def timm_average() -> nn.Module:
    return timm_vit(global_pool="avg")


def timm_dinov2() -> nn.Module:
    return timm_vit(init_values=1.0, reg_tokens=2, no_embed_class=True)


def timm_swiglu_rms() -> nn.Module:
    from timm.layers import RmsNorm, SwiGLU

    return timm_vit(norm_layer=RmsNorm, mlp_layer=SwiGLU, qk_norm=True)


def timm_deit() -> nn.Module:
    from timm.models.deit import VisionTransformerDistilled

    return randomized(
        VisionTransformerDistilled(
            img_size=64, patch_size=16, embed_dim=48, depth=3, num_heads=4, num_classes=7
        )
    )


def timm_eva02() -> nn.Module:
    from timm.models.eva import Eva

    return randomized(
        Eva(
            img_size=64,
            patch_size=16,
            embed_dim=48,
            depth=3,
            num_heads=4,
            num_classes=7,
            swiglu_mlp=True,
            scale_mlp=True,
            use_rot_pos_emb=True,
            ref_feat_shape=(4, 4),
        )
    )


def timm_beit() -> nn.Module:
    from timm.models.beit import Beit

    return randomized(
        Beit(
            img_size=64,
            patch_size=16,
            embed_dim=48,
            depth=3,
            num_heads=4,
            num_classes=7,
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
            init_values=0.1,
        )
    )


def torchvision_vit() -> nn.Module:
    return randomized(small_models.torchvision_vit(classes=7))


def hugging_face_vit() -> nn.Module:
    return randomized(hugging_face("ViTForImageClassification", "ViTConfig", num_labels=7))


def hugging_face_dinov2() -> nn.Module:
    return randomized(hugging_face("Dinov2ForImageClassification", "Dinov2Config", num_labels=7))


def hugging_face_clip() -> nn.Module:
    return randomized(hugging_face("CLIPVisionModelWithProjection", "CLIPVisionConfig", projection_dim=7))


def open_clip_vit() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    return randomized(
        VisionTransformer(
            image_size=64, patch_size=16, width=48, layers=3, heads=4, mlp_ratio=2.0, output_dim=7
        )
    )


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    make.__name__: make
    for make in (
        timm_vit,
        timm_siglip,
        timm_average,
        timm_dinov2,
        timm_swiglu_rms,
        timm_deit,
        timm_eva02,
        timm_beit,
        torchvision_vit,
        hugging_face_vit,
        hugging_face_dinov2,
        hugging_face_clip,
        open_clip_vit,
    )
}

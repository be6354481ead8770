"""Which models ``tools/try_models.py`` tries, and how each of them is built: small, with random weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Candidate:
    """A model to try.

    Attributes:
        library, family, name: where it is from, what it stands for, and which of the family was taken.
        build: makes it.
        sizes: the sides of square images to try, the first that the model takes.
        score: from its output to scores, for models that give no logits; None: its logits.
    """

    library: str
    family: str
    name: str
    build: Callable[[], nn.Module]
    sizes: tuple[int, ...]
    score: Callable[[Any], torch.Tensor] | None = None


# The words in timm's names that tell a model's size and not its kind.
_SIZE = re.compile(
    r"test|x*s\d+|atto|femto|pico|nano|x*tiny|x*small|s|m|l|x+l|b|x+s|t|ti|h|h1|n|x|xx|base|d?p?wee|d?little|betwixt|"
    r"mediumd?|large\d?|x?huge|giant|giantopt|gigantic|enormous|xlarge|plus|mini|lite|so\d+m\d?|\d+b|\d+m|"
    r"[a-z]?\d+[a-z]*\d*|patch\d+|window\w+|\d+x\d+|intern\d+m"
)
# Plain Vision Transformers, of which every variant is tried; of the others one per kind of name.
_PLAIN = {
    "beit",
    "cait",
    "deepseek_vit",
    "deit",
    "eva",
    "gemma4_vit",
    "naflexvit",
    "qwen3_vit",
    "vision_transformer",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vision_transformer_sam",
}
_OTHERS = {
    "byoanet",
    "coat",
    "convit",
    "cpubone",
    "crossvit",
    "csatv2",
    "davit",
    "edgenext",
    "efficientformer",
    "efficientformer_v2",
    "efficientvit_mit",
    "efficientvit_msra",
    "fastvit",
    "focalnet",
    "gcvit",
    "hiera",
    "hieradet_sam2",
    "iformer",
    "levit",
    "lowformer",
    "maxxvit",
    "metaformer",
    "mobilenetv5",
    "mobilevit",
    "mvitv2",
    "nest",
    "nextvit",
    "pit",
    "pvt_v2",
    "sequencer",
    "shvit",
    "swiftformer",
    "swin_transformer",
    "swin_transformer_v2",
    "swin_transformer_v2_cr",
    "tiny_vit",
    "tnt",
    "twins",
    "visformer",
    "vitamin",
    "volo",
    "xcit",
}


def candidates() -> Iterator[Candidate]:
    """All of them."""
    yield from _of_torchvision()
    yield from _of_hugging_face()
    yield from _of_open_clip()
    yield from _of_timm()


def _of_timm() -> Iterator[Candidate]:
    import timm
    from timm.models import is_model_in_modules

    families = defaultdict(list)
    for module in sorted(_PLAIN | _OTHERS):
        for name in timm.list_models():
            if is_model_in_modules(name, [module]):
                kind = "_".join(word for word in name.split("_") if not _SIZE.fullmatch(word))
                if module not in _PLAIN:
                    kind = re.split(r"[_\d]", name)[0]
                families[module, kind].append(name)
    for (module, kind), names in families.items():
        name = min(names, key=_parameters) if len(names) > 1 else names[0]
        side = timm.get_pretrained_cfg(name).input_size[-1]
        # Smaller, tokens of the last stage would be padding for the most part, or one token all there is.
        sizes = (side,) if module in ("tiny_vit", "csatv2") else (112, 128, 144, 192, side)
        yield Candidate("timm", f"{module}: {kind}", name, partial(_timm, name), sizes)


def _parameters(name: str) -> float:
    import timm

    try:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name).parameters())
    except (RuntimeError, NotImplementedError):  # some compute with their buffers as they are made
        return float("inf")


def _timm(name: str) -> nn.Module:
    import timm

    for options in ({"img_size": 112, "depth": 4}, {"img_size": 128, "depth": 4}, {"depth": 4}, {}):
        try:
            return timm.create_model(name, num_classes=9, **options)
        except (TypeError, RuntimeError, AssertionError, IndexError, ValueError, KeyError):
            continue  # the model takes no such option
    return timm.create_model(name)


def _of_torchvision() -> Iterator[Candidate]:
    import torchvision

    vit = partial(torchvision.models.VisionTransformer, 64, 16, 3, 4, 48, 96, num_classes=9)
    yield Candidate("torchvision", "VisionTransformer", "vit_*", vit, (64,))
    for name in ("swin_t", "swin_v2_t", "maxvit_t"):
        build = partial(torchvision.models.get_model, name, num_classes=9)
        yield Candidate("torchvision", name.split("_")[0], name, build, (224,))


def _of_open_clip() -> Iterator[Candidate]:
    names = (
        "ViT-S-32",
        "ViT-S-16-alt",
        "ViT-B-32-quickgelu",
        "ViT-B-32-SigLIP2-256",
        "EVA02-B-16",
        "PE-Core-T-16-384",
        "coca_ViT-B-32",
        "vit_medium_patch16_gap_256",
        "vit_relpos_medium_patch16_cls_224",
        "ViT-H-14-CLIPA",
        "MobileCLIP-B",
        "MobileCLIP-S1",
        "ViTamin-S",
        "RN50",
        "convnext_base",
    )
    for name in names:
        yield Candidate("open_clip", name, f"{name}, visual", partial(_open_clip, name), (224, 256, 384))


def _open_clip(name: str) -> nn.Module:
    import open_clip

    config = open_clip.get_model_config(name)
    if "timm_model_name" not in config["vision_cfg"]:
        config["vision_cfg"]["layers"] = min(4, config["vision_cfg"]["layers"]) if "ViT" in name else [1] * 4
    config["text_cfg"]["layers"] = 1
    return open_clip.factory.CLIP(
        config["embed_dim"], config["vision_cfg"], {"layers": 1, "width": 64, "heads": 2}
    ).visual


_SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
    "num_labels": 9,
    "initializer_range": 0.1,
}
# (class, its configuration, what is changed of _SMALL; None: the library's defaults with nine classes)
_HUGGING_FACE: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("ViTForImageClassification", "ViTConfig", {}),
    ("ViTForImageClassification", "ViTConfig", {"attn_implementation": "eager"}),
    ("DeiTForImageClassification", "DeiTConfig", {}),
    ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {}),
    ("BeitForImageClassification", "BeitConfig", {"use_relative_position_bias": True}),
    ("Data2VecVisionForImageClassification", "Data2VecVisionConfig", {"use_relative_position_bias": True}),
    ("Dinov2ForImageClassification", "Dinov2Config", {}),
    ("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", {}),
    ("DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4}),
    ("CLIPForImageClassification", "CLIPConfig", {}),
    ("CLIPVisionModelWithProjection", "CLIPVisionConfig", {}),
    ("MetaClip2ForImageClassification", "MetaClip2Config", {}),
    ("SiglipForImageClassification", "SiglipConfig", {}),
    ("SiglipVisionModel", "SiglipVisionConfig", {}),
    ("Siglip2VisionModel", "Siglip2VisionConfig", {}),
    ("ViTMSNForImageClassification", "ViTMSNConfig", {}),
    ("ViTMAEModel", "ViTMAEConfig", {}),
    ("ViTMAEModel", "ViTMAEConfig", {"mask_ratio": 0.0}),
    ("IJepaForImageClassification", "IJepaConfig", {}),
    ("Aimv2VisionModel", "Aimv2VisionConfig", {}),
    ("PixioModel", "PixioConfig", {}),
    ("MLCDVisionModel", "MLCDVisionConfig", {}),
    ("Tipsv2VisionModel", "Tipsv2VisionConfig", {}),
    ("YolosModel", "YolosConfig", {"image_size": [64, 64], "num_detection_tokens": 5}),
    ("VitDetModel", "VitDetConfig", {"window_size": 2, "window_block_indices": [0, 1]}),
    ("DPTModel", "DPTConfig", {}),
    ("ViTPoseBackbone", "VitPoseBackboneConfig", {"image_size": [64, 64], "patch_size": [16, 16]}),
    ("OwlViTVisionModel", "OwlViTVisionConfig", {}),
    ("BlipVisionModel", "BlipVisionConfig", {}),
    ("Blip2VisionModel", "Blip2VisionConfig", {}),
    ("CLIPSegVisionModel", "CLIPSegVisionConfig", {}),
    ("ChineseCLIPVisionModel", "ChineseCLIPVisionConfig", {}),
    ("AltCLIPVisionModel", "AltCLIPVisionConfig", {}),
    ("FlavaImageModel", "FlavaImageConfig", {}),
    ("GitVisionModel", "GitVisionConfig", {}),
    ("InternVLVisionModel", "InternVLVisionConfig", {"image_size": [64, 64], "patch_size": [16, 16]}),
    ("JanusVisionModel", "JanusVisionConfig", {}),
    ("PixtralVisionModel", "PixtralVisionConfig", {"head_dim": 12}),
    ("Idefics3VisionTransformer", "Idefics3VisionConfig", {}),
    (
        "SamVisionModel",
        "SamVisionConfig",
        {"window_size": 2, "global_attn_indexes": [2], "output_channels": 32},
    ),
    ("GroupViTVisionModel", "GroupViTVisionConfig", None),
    ("SwinForImageClassification", "SwinConfig", None),
    ("Swinv2ForImageClassification", "Swinv2Config", None),
    ("DonutSwinForImageClassification", "DonutSwinConfig", None),
    ("PvtForImageClassification", "PvtConfig", None),
    ("PvtV2ForImageClassification", "PvtV2Config", None),
    ("LevitForImageClassification", "LevitConfig", None),
    ("MobileViTForImageClassification", "MobileViTConfig", None),
    ("MobileViTV2ForImageClassification", "MobileViTV2Config", None),
    ("SegformerForImageClassification", "SegformerConfig", None),
    ("CvtForImageClassification", "CvtConfig", None),
    ("FocalNetForImageClassification", "FocalNetConfig", None),
    ("HieraForImageClassification", "HieraConfig", None),
    ("PoolFormerForImageClassification", "PoolFormerConfig", None),
    ("SwiftFormerForImageClassification", "SwiftFormerConfig", None),
    ("PerceiverForImageClassificationLearned", "PerceiverConfig", {"num_latents": 32, "d_latents": 64}),
    ("ImageGPTForImageClassification", "ImageGPTConfig", {}),
    ("VideoMAEModel", "VideoMAEConfig", {}),
)


def _of_hugging_face() -> Iterator[Candidate]:
    import transformers

    for kind, config, changes in _HUGGING_FACE:
        size = (64,) if changes is not None else (224,)
        note = ", ".join(f"{key}={value}" for key, value in (changes or {}).items())
        name = f"{kind}({note})" if changes else kind
        if hasattr(transformers, kind):
            yield Candidate("transformers", kind, name, partial(_hf, kind, config, changes), size)


def _hf(kind: str, config: str, changes: dict[str, Any] | None) -> nn.Module:
    import transformers

    if changes is None:
        settings = getattr(transformers, config)(num_labels=9)
    elif config in ("CLIPConfig", "SiglipConfig", "MetaClip2Config"):
        settings = getattr(transformers, config)(vision_config={**_SMALL, **changes})
        settings.num_labels = 9
    else:
        settings = getattr(transformers, config)(**{**_SMALL, **changes})
    return getattr(transformers, kind)(settings)

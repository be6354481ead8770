"""Dual encoders of open_clip (CLIP, SigLIP, CoCa and their like)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import open_clip
import torch
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.models.checkpoint import misfit, read_checkpoint
from vitcam.models.hub import hugging_face
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.promptable import ImageTower
from vitcam.models.spec import Spec, unknown_name
from vitcam.models.wrapping import Known

HUB, FOLDER = "hf-hub:", "local-dir:"


def load_open_clip(spec: Spec, *, pretrained: bool, num_classes: None = None) -> LoadedModel:
    """``open_clip:ARCH/TAG``, ``open_clip:ARCH@FILE``, ``open_clip:hf-hub:ID`` or ``open_clip:local-dir:FOLDER``.

    Of the model the image tower, to be given texts as classes.

    Raises:
        ModelError: no such architecture, tag, repository or folder, no weights, or weights that don't fit.
    """
    if spec.name.startswith((HUB, FOLDER)):
        return _loaded(spec, _described(spec, pretrained), spec.name, from_hub=spec.name.startswith(HUB))
    architecture, tag = spec.split_name()
    if architecture not in open_clip.list_models():
        raise unknown_name(spec, architecture, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise unknown_name(spec, tag, tags, what=f"weights for {architecture}")
    if spec.file:
        model = _from_checkpoint(spec, architecture)
    elif not pretrained:
        model = _untrained(architecture)
    elif tag is None:
        raise ModelError(
            f"Can't load {spec}: it doesn't say which weights. Expected {spec}@FILE, or {spec}/TAG with one "
            f"of these tags: {', '.join(tags[:5]) + ', …' if tags else '(open_clip has none)'}."
        )
    else:
        with hugging_face(spec, local=f"open_clip:{architecture}@FILE"):
            model = open_clip.create_model(architecture, pretrained=tag)
    from_hub = "hf_tokenizer_name" in open_clip.get_model_config(architecture)["text_cfg"]
    return _loaded(spec, model, architecture, from_hub=from_hub)


def _loaded(spec: Spec, model: Any, name: str, from_hub: bool) -> LoadedModel:
    """A model as vitcam's, by open_clip's name of it, and whether its tokenizer is on the hub."""
    model.eval()
    preprocessing = open_clip_preprocessing(open_clip.get_model_preprocess_cfg(model))
    encode = _text_encoder(model, _tokenizer(spec, name, from_hub))
    return LoadedModel(_image_tower(model), preprocessing, text_encoder=encode, spec=str(spec))


def _described(spec: Spec, pretrained: bool) -> Any:
    """A model whose repository or folder says in open_clip's way what it is (BiomedCLIP and its like)."""
    if spec.file:
        raise ModelError(
            f"Can't load {spec}: {spec.scheme}:{spec.name} has weights of its own. Leave @{spec.file} out, or put it "
            f"into a folder with its open_clip_config.json: open_clip:{FOLDER}FOLDER"
        )
    if spec.name.startswith(HUB):
        with hugging_face(spec, local=f"open_clip:{FOLDER}FOLDER, a copy of the repository"):
            return open_clip.create_model(spec.name, load_weights=pretrained, require_pretrained=pretrained)
    try:
        return open_clip.create_model(spec.name, load_weights=pretrained, require_pretrained=pretrained)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # no folder, no description, or weights of another model
        raise ModelError(f"Can't load {spec}: {error}") from error


def open_clip_names() -> list[str]:
    """All that ``open_clip:`` can load: architectures, each with the tags of its weights."""
    tagged = [f"{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()]
    named = {name.partition("/")[0] for name in tagged}
    return sorted([*tagged, *(name for name in open_clip.list_models() if name not in named)])


def known_of_open_clip(model: Any, tokenizer: Any) -> Known:
    """What a dual encoder in memory says of itself: its preprocessing.

    Raises:
        ModelError: it is no dual encoder, or comes without its tokenizer, which it doesn't name.
    """
    if not all(hasattr(model, part) for part in ("visual", "encode_text", "logit_scale")):
        return Known(model)
    if tokenizer is None:
        raise ModelError(
            f"{type(model).__name__} compares images with texts, and doesn't say by which tokenizer: pass "
            "tokenizer=open_clip.get_tokenizer(ARCHITECTURE)"
        )
    declared = getattr(model.visual, "preprocess_cfg", None)
    return Known(
        _image_tower(model),
        preprocessing=open_clip_preprocessing(open_clip.get_model_preprocess_cfg(model))
        if declared
        else None,
        text_encoder=_text_encoder(model, lambda: tokenizer),
        remedy="preprocessing=, the transform that open_clip.create_model_and_transforms gives for validation",
    )


def _image_tower(model: Any) -> ImageTower:
    return ImageTower(model.visual, model.logit_scale.exp(), getattr(model, "logit_bias", None))


def open_clip_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """What open_clip's validation transform does, declared.

    Args:
        config: as ``open_clip.get_model_preprocess_cfg`` gives it.
    """
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    # open_clip's resize of the shortest edge ignores the interpolation when the input isn't square
    ignored = config["resize_mode"] == "shortest" and height != width
    return Preprocessing(
        size=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bicubic" if ignored else config["interpolation"],
        resize_mode=config["resize_mode"],
        fill=(config["fill_color"],) * 3,
    )


def _untrained(architecture: str) -> Any:
    # open_clip warns through the root logger that the weights are random, which here is meant.
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(architecture, pretrained_text=False)
    finally:
        logging.disable(logging.NOTSET)


def _from_checkpoint(spec: Spec, architecture: str) -> Any:
    read_checkpoint(spec)  # says clearly what is wrong with the file itself
    model = _untrained(architecture)
    try:
        open_clip.load_checkpoint(model, spec.file, weights_only=True)
    except Exception as error:  # open_clip's conversions of foreign checkpoints raise nearly anything
        raise misfit(spec, error) from error
    return model


def _tokenizer(spec: Spec, name: str, from_hub: bool) -> Callable[[], Any]:
    """What makes the tokenizer of open_clip's model of a name, the first time that it is asked to."""

    @cache
    def tokenizer() -> Any:
        with hugging_face(spec, local="its tokenizer in the local cache") if from_hub else nullcontext():
            return open_clip.get_tokenizer(name)

    return tokenizer


def _text_encoder(model: Any, tokenizer: Callable[[], Any]) -> Callable[[Sequence[str]], Tensor]:
    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer()(list(texts)).to(model.logit_scale.device)
        features: Tensor = model.encode_text(tokens, normalize=True)
        return features

    return encode

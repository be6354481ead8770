"""Which models of other tasks than classes of photographs ``tools/try_models.py`` tries: all that transformers lists.

Each class is built from its own default configuration, with every size in it made small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

import vitcam

METHODS = ("agcam", "gae", "gradcam", "attnlrp", "ixg", "occlusion")
TASKS = {
    "VIDEO_CLASSIFICATION": "clips",
    "AUDIO_CLASSIFICATION": "sounds",
    "OBJECT_DETECTION": "objects",
    "ZERO_SHOT_OBJECT_DETECTION": "objects by text",
    "SEMANTIC_SEGMENTATION": "segmentation",
    "UNIVERSAL_SEGMENTATION": "segmentation by queries",
    "MASK_GENERATION": "masks of prompts",
    "DEPTH_ESTIMATION": "depth",
    "ZERO_SHOT_IMAGE_CLASSIFICATION": "a picture and its text",
    "VISUAL_QUESTION_ANSWERING": "answers to questions",
}
"""transformers' lists of models by task, and what they are called here."""

_TEXT = "a picture and its text", "answers to questions", "objects by text"
_SMALL = {
    "hidden_size": 32,
    "d_model": 32,
    "num_hidden_layers": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "intermediate_size": 64,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "projection_dim": 16,
    "image_text_hidden_size": 16,
    "encoder_hidden_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 97,
    "eos_token_id": 98,
    "sep_token_id": 98,
    "num_queries": 5,
    "num_detection_tokens": 5,
    "image_size": 128,
    "crop_size": 64,
    "num_frames": 8,
    "frames_per_clip": 8,
    "max_length": 128,
    "max_source_positions": 64,
}


_DEPTHS = {"num_hidden_layers", "encoder_layers", "decoder_layers", "num_queries"}
_OF_INPUTS = {
    "image_size",
    "crop_size",
    "num_frames",
    "frames_per_clip",
    "max_length",
    "max_source_positions",
}


@dataclass(frozen=True)
class TaskCandidate:
    """A model of another task to try.

    Attributes:
        library, family, name: as in ``models_to_try.Candidate``.
        task: what the model answers.
        build: makes the model, and two inputs that it takes.
        targets: what of the answer is explained.
        inputs: what the model takes beside it.
    """

    library: str
    family: str
    name: str
    task: str
    build: Callable[[], tuple[nn.Module, Tensor]]
    targets: Any
    inputs: Mapping[str, Tensor] = field(default_factory=dict)


def task_candidates() -> Iterator[TaskCandidate]:
    """All of them."""
    from transformers.models.auto import modeling_auto

    seen: set[str] = set()
    for listed, task in TASKS.items():
        for name in getattr(modeling_auto, f"MODEL_FOR_{listed}_MAPPING_NAMES").values():
            if name not in seen:
                seen.add(name)
                build = partial(_built, name, task)
                yield TaskCandidate("transformers", name, name, task, build, _targets(task), _inputs(task))


def _built(name: str, task: str) -> tuple[nn.Module, Tensor]:
    """The model with as many sizes made small as it takes, and two inputs."""
    import transformers

    kind = getattr(transformers, name)
    failures = []
    deep = {key: size for key, size in _SMALL.items() if key not in _DEPTHS}
    narrow = {key: size for key, size in _SMALL.items() if key in _OF_INPUTS}
    for small in (_SMALL, deep, narrow, {}):
        try:
            settings = kind.config_class()
            _shrink(settings, small)
            model = kind(settings).eval()
            given = _given(task, model)
            names = signature(model.forward).parameters
            named = (
                "pixel_values" if "pixel_values" in names else next(iter(names))
            )  # of CLIP it isn't the first
            with torch.no_grad():
                model(**{named: given}, **_inputs(task))
        except Exception as error:  # whatever a library raises when sizes don't go together
            failures.append(error)
        else:
            return model, given
    raise RuntimeError(f"{name}: " + "; ".join(str(error)[:200] for error in failures))


def _shrink(settings: Any, small: Mapping[str, int]) -> None:
    """Makes sizes in a configuration, and in those in it, small."""
    from transformers import PreTrainedConfig

    for name, value in list(vars(settings).items()):
        if isinstance(value, PreTrainedConfig):
            _shrink(value, small)
        elif name == "image_size" in small and hasattr(settings, "num_frames"):
            settings.image_size = small["crop_size"]
        elif name in small and type(value) is int:
            setattr(settings, name, small[name])
        elif name == "image_size" in small and value:
            settings.image_size = [small["image_size"]] * 2
    if settings.model_type == "beit":
        settings.out_indices = [1, 2, 3, 4]


def _given(task: str, model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    settings: Any = model.config
    if task == "clips":
        frames = getattr(settings, "num_frames", None) or settings.frames_per_clip
        side = getattr(settings, "image_size", None) or settings.crop_size
        return torch.randn(2, frames, 3, side, side, generator=generator)
    if task == "sounds":
        bands = getattr(settings, "num_mel_bins", None)
        frames = 2 * getattr(settings, "max_source_positions", getattr(settings, "max_length", 128) // 2)
        shape = (2, 8000) if bands is None else (2, frames, bands)
        return torch.randn(shape, generator=generator)
    height, width = _sides(settings)
    return torch.randn(2, 3, height, width, generator=generator)


def _sides(settings: Any) -> tuple[int, int]:
    """The size of picture that a configuration names, or one that every backbone takes."""
    for each in (
        settings,
        getattr(settings, "vision_config", None),
        getattr(settings, "backbone_config", None),
    ):
        size = getattr(each, "image_size", None)
        if size:
            return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return 128, 128


def _targets(task: str) -> Any:
    if task in ("clips", "sounds", "answers to questions"):
        return [[0], [1]]
    if task.startswith("objects"):
        return vitcam.detections(query=1)
    return vitcam.matching() if task == "a picture and its text" else vitcam.region(0)


def _inputs(task: str) -> dict[str, Tensor]:
    if task == "masks of prompts":
        return {"input_points": torch.tensor([[[[60.0, 60.0]]], [[[90.0, 40.0]]]])}
    if task not in _TEXT:
        return {}
    ids = torch.tensor([[97, 5, 40, 98], [97, 6, 41, 98]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

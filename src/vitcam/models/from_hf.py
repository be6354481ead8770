"""Classifiers and dual encoders of Hugging Face transformers, from the hub or from a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from vitcam.errors import ModelError, VitcamError
from vitcam.models.clips import ClipPreprocessing
from vitcam.models.from_timm import load_timm_repository
from vitcam.models.hub import hugging_face
from vitcam.models.imagenet import imagenet_wordnet_ids
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.processor import processor_preprocessing
from vitcam.models.promptable import ImageTower
from vitcam.models.sounds import SoundPreprocessing, sound_preprocessing
from vitcam.models.spec import Spec
from vitcam.models.wrapping import Known

_DUAL_ENCODERS = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}
_HEADLESS = ("Model", "ModelWithProjection")
_READING = ("BlipForImageTextRetrieval", "BlipForConditionalGeneration")
_TASKS = (
    *("ForObjectDetection", "ForSemanticSegmentation", "ForUniversalSegmentation", "ForInstanceSegmentation"),
    *("ForDepthEstimation", *_HEADLESS, *_READING),
)
"""How the classes of models are called whose answers aren't classes of images: see :mod:`vitcam.answers`."""


def load_hf(spec: Spec, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """``hf:ID`` or ``hf:/FOLDER``: a classifier as it is, or the image tower of CLIP or SigLIP; a backbone, a
    detector, a model of segmentation or depth, or a BLIP as it was saved.

    What timm has saved there is loaded with timm.
    Code that comes with a model is never run, and safetensors are taken where there are any.

    Raises:
        ModelError: no such model or folder, not a model of images, no classification head, no image
            processor, weights that are damaged or don't fit, or the hub can't be reached.
    """
    with _source(spec):
        config = transformers.AutoConfig.from_pretrained(spec.name, trust_remote_code=False)
        if config.model_type == "timm_wrapper":
            return load_timm_repository(spec, pretrained=pretrained, num_classes=num_classes)
        dual = _DUAL_ENCODERS.get(config.model_type)
        if dual and "ForImageClassification" not in "".join(config.architectures or ()):
            return _dual_encoder(spec, config, dual, pretrained, num_classes)
        if answering := _answering(config):
            return _other(spec, config, answering, pretrained, num_classes)
        return _classifier(spec, config, pretrained, num_classes)


def _of_pictures(spec: Spec, config: Any) -> Preprocessing:
    return processor_preprocessing(spec, _processor(spec))


def _of_clips(spec: Spec, config: Any) -> ClipPreprocessing:
    if not isinstance(frames := getattr(config, "num_frames", None), int):
        raise ModelError(
            f"Can't load {spec}: a {config.model_type!r} model doesn't say how many frames its clips have. Load the "
            "model yourself, and declare it: LoadedModel(module, vitcam.ClipPreprocessing(frames=…, picture=…))."
        )
    return ClipPreprocessing(frames, _processor(spec))


def _of_sounds(spec: Spec, config: Any) -> SoundPreprocessing:
    return sound_preprocessing(
        _processor(spec, transformers.AutoFeatureExtractor, "feature extractor", "sounds")
    )


_CLASSIFIERS: tuple[tuple[Any, Any, Callable[[Spec, Any], Any]], ...] = (
    (
        transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        transformers.AutoModelForImageClassification,
        _of_pictures,
    ),
    (
        transformers.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING,
        transformers.AutoModelForVideoClassification,
        _of_clips,
    ),
    (
        transformers.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
        transformers.AutoModelForAudioClassification,
        _of_sounds,
    ),
)
"""Which models classify, what makes them, and how their inputs are prepared."""


def _classifier(spec: Spec, config: Any, pretrained: bool, num_classes: int | None) -> LoadedModel:
    found = next((rest for mapping, *rest in _CLASSIFIERS if type(config) in mapping), None)
    if found is None:
        raise ModelError(
            f"Can't load {spec}: transformers has no image classifier for a {config.model_type!r} model. "
            f"Expected an image classifier (such as hf:google/vit-base-patch16-224), one of videos or sounds, CLIP "
            "or SigLIP."
        )
    maker, prepared = found
    preprocessing = prepared(spec, config)
    if num_classes is not None:
        config.num_labels = num_classes
    module = _trained(spec, maker, config) if pretrained else maker.from_config(config)
    return LoadedModel(
        module,
        preprocessing,
        class_names=_class_names(config),
        wordnet_ids=imagenet_wordnet_ids(_class_names(config) or ()),
        spec=str(spec),
        multi_label=_is_multi_label(config),
    )


def _answering(config: Any) -> Any:
    """The class that a checkpoint was saved from, if that is a model of images with another answer than classes."""
    name = next(iter(config.architectures or ()), "")
    kind = getattr(transformers, name, None)
    of_images = name in _READING or getattr(kind, "main_input_name", "") == "pixel_values"
    return kind if name.endswith(_TASKS) and of_images else None


def _other(spec: Spec, config: Any, kind: Any, pretrained: bool, num_classes: int | None) -> LoadedModel:
    if num_classes is not None:
        raise ModelError(
            f"Can't load {spec} with num_classes={num_classes}: it was saved as a {kind.__name__}, which is no image "
            "classifier. Load it as it is; vitcam train-head puts a head on a backbone"
        )
    preprocessing = processor_preprocessing(spec, _processor(spec))
    module = (_trained(spec, kind, config) if pretrained else kind(config)).eval()
    is_headless = kind.__name__.endswith(_HEADLESS)
    reads = kind.__name__ in _READING
    names = None if is_headless or reads else _class_names(config)
    tokenizer = (
        transformers.AutoTokenizer.from_pretrained(spec.name, trust_remote_code=False) if reads else None
    )
    return LoadedModel(module, preprocessing, class_names=names, spec=str(spec), tokenizer=tokenizer)


def known_of_hf(model: Any, tokenizer: Any) -> Known:
    """What the configuration of a model in memory says of it; its image processor and tokenizer are files beside it.

    Raises:
        ModelError: it compares images with texts, and comes without a tokenizer.
    """
    config = model.config
    folder = getattr(config, "_name_or_path", "") or "ID"
    remedy = f"preprocessing=transformers.AutoImageProcessor.from_pretrained({folder!r})"
    if isinstance(model, tuple(_DUAL_ENCODERS.values())):
        if tokenizer is None:
            raise ModelError(
                f"{type(model).__name__} compares images with texts, and doesn't have its tokenizer: pass "
                f"tokenizer=transformers.AutoTokenizer.from_pretrained({folder!r}), or the processor that has it, "
                f"preprocessing=transformers.AutoProcessor.from_pretrained({folder!r})"
            )
        encode = _text_encoder(model, tokenizer)
        return Known(_image_tower(model), text_encoder=encode, remedy=remedy)
    if not type(model).__name__.endswith(("ForAudioClassification", "ForVideoClassification")) and (
        "ForImageClassification" not in type(model).__name__
    ):
        return Known(model, remedy=remedy)
    names = _class_names(config)
    ids = imagenet_wordnet_ids(names or ())
    return Known(model, None, names, ids, _is_multi_label(config), remedy=remedy)


def _class_names(config: Any) -> tuple[str, ...] | None:
    """Those of a configuration; None if they are placeholders."""
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _is_multi_label(config: Any) -> bool:
    return bool(config.problem_type == "multi_label_classification")


def _dual_encoder(
    spec: Spec, config: Any, dual: Any, pretrained: bool, num_classes: int | None
) -> LoadedModel:
    if num_classes is not None:
        raise ModelError(f"Can't load {spec} with num_classes={num_classes}: its classes are texts of yours.")
    preprocessing = processor_preprocessing(spec, _processor(spec))
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec.name, trust_remote_code=False)
    model = (_trained(spec, dual, config) if pretrained else dual(config)).eval()
    encode = _text_encoder(model, tokenizer)
    return LoadedModel(_image_tower(model), preprocessing, text_encoder=encode, spec=str(spec))


def _image_tower(model: Any) -> ImageTower:
    return ImageTower(
        _VisionTower(model.vision_model, getattr(model, "visual_projection", nn.Identity())),
        model.logit_scale.exp(),
        getattr(model, "logit_bias", None),
    )


class _VisionTower(nn.Module):
    """The vision half of CLIPModel or SiglipModel, up to the features that are compared with texts."""

    def __init__(self, vision_model: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.vision_model = vision_model
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.projection(self.vision_model(pixel_values=images).pooler_output)
        return features


def _text_encoder(model: Any, tokenizer: Any) -> Callable[[Sequence[str]], Tensor]:
    # SigLIP was trained on padded texts only, and attends to the padding
    padding = "max_length" if model.config.model_type == "siglip" else True
    length = model.config.text_config.max_position_embeddings

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(
            list(texts), padding=padding, max_length=length, truncation=True, return_tensors="pt"
        )
        features = model.get_text_features(**tokens.to(model.logit_scale.device))
        features = getattr(features, "pooler_output", features)  # a tensor before transformers 5
        return nn.functional.normalize(features, dim=-1)

    return encode


def _trained(spec: Spec, kind: Any, config: Any) -> Any:
    """The model with its weights, in fp32; what transformers would leave random is an error."""
    model, report = kind.from_pretrained(
        spec.name,
        config=config,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are reported too, and clearer than what transformers raises
    )
    random = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if random:
        saved = " and ".join(config.architectures or ("something else",))
        more = f" and {len(random) - 3} more" if len(random) > 3 else ""
        raise ModelError(
            f"Can't load {spec}: its weights, saved from {saved}, lack {', '.join(random[:3])}{more}, or have "
            f"them in another size. Expected a model with all of its weights: a classifier with its head, a whole "
            "CLIP or SigLIP."
        )
    return model.float()


def _processor(
    spec: Spec,
    kind: Any = transformers.AutoImageProcessor,
    called: str = "image processor",
    prepared: str = "photographs",
) -> Any:
    try:
        return kind.from_pretrained(spec.name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if not Path(spec.name).is_dir():
            raise
        raise ModelError(
            f"Can't load {spec}: the folder has no {called}, so how to prepare its {prepared} isn't "
            f"known. Save the one the model was trained with into it: "
            f"{kind.__name__}.from_pretrained(ID).save_pretrained({spec.name!r})."
        ) from error


@contextmanager
def _source(spec: Spec) -> Iterator[None]:
    """Inside, the model is read from its folder, or from the hub; says what went wrong there."""
    folder = Path(spec.name)
    if not folder.is_dir() and spec.name.startswith(("/", ".", "~")):
        raise ModelError(f"Can't load {spec}: there is no folder {folder}.")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"Can't load {spec}: the folder has no config.json; save_pretrained writes one.")
    local = "hf:/FOLDER, as save_pretrained writes it"
    try:
        with nullcontext() if folder.is_dir() else hugging_face(spec, local):
            yield
    except VitcamError:
        raise
    except Exception as error:  # a damaged or unusual model makes transformers raise nearly anything
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"Can't load {spec}: it comes with code of its own, which vitcam never runs. If you trust it, "
                f"load it yourself: LoadedModel(module, Preprocessing(…))."
            ) from error
        raise ModelError(f"Can't load {spec}: {shorten(str(error), 300, placeholder='…')}") from error

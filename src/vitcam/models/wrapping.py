"""A model in memory, with what it is used with: preprocessing, class names, texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.inputs import PICTURE
from vitcam.models.adopted import Adopted, adopted_preprocessing
from vitcam.models.loaded import LoadedModel

LIBRARIES = ("timm", "transformers", "torchvision", "open_clip")


@dataclass(frozen=True)
class Known:
    """What a library's model says of itself.

    Attributes:
        module: what is explained: the model, or for a dual encoder its image half.
        preprocessing: None if it says nothing of it.
        class_names: None if it says nothing of them.
        wordnet_ids: per class, if its classes are ImageNet's.
        multi_label: whether an image can have several classes.
        text_encoder: of a dual encoder, from texts to their features.
        remedy: what to pass for a preprocessing that it says nothing of.
    """

    module: nn.Module
    preprocessing: Any = None
    class_names: tuple[str, ...] | None = None
    wordnet_ids: tuple[tuple[str, ...], ...] | None = None
    multi_label: bool = False
    text_encoder: Callable[[Sequence[str]], Tensor] | None = None
    remedy: str = (
        "preprocessing=vitcam.Preprocessing(size=…, mean=…, std=…), or its transform or image processor"
    )


def wrap(
    module: nn.Module,
    preprocessing: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    weights: Any = None,
    tokenizer: Any = None,
    multi_label: bool | None = None,
    name: str | None = None,
) -> LoadedModel:
    """A model in memory as one that takes photographs and class names.

    What isn't given is taken from the model itself: of timm, from its ``pretrained_cfg``; of Hugging Face, class
    names from its ``id2label``; of open_clip, its preprocessing. Nothing is guessed, and nothing is downloaded: what
    can't be known is an error that says what to pass. What is taken from the model, and all class names, are checked
    by running it on an image of its own size, unless its forward needs more than that.

    Args:
        module: the model. It is left as it was, its mode too, which should be evaluation when it is explained.
        preprocessing: how it wants its photographs: a :class:`vitcam.Preprocessing`, a Hugging Face image processor
            (or a processor that has one), a transform of torchvision, timm or open_clip, or any function from a PIL
            image to a tensor.
        class_names: one per logit; for a model that compares images with texts (CLIP, SigLIP), texts.
        weights: of a model of torchvision, the member of its weights enum that it was made with, such as
            ``torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1``: its transforms and its categories are taken.
        tokenizer: of a model that compares images with texts. A Hugging Face processor given as ``preprocessing`` may
            have it.
        multi_label: whether an image can have several classes; None: what the model says, or no.
        name: what it is called in messages and pictures; None: its class.

    Raises:
        ModelError: its preprocessing isn't known, or can't be declared; or the names aren't as many as its classes.

    Example:
        >>> own = vitcam.wrap(model)
        >>> own.preprocessing.size, own.class_names[0]
        ((224, 224), 'tench, Tinca tinca')
        >>> vitcam.wrap(torch.nn.Identity())
        Traceback (most recent call last):
        vitcam.errors.ModelError: how Identity wants its photographs isn't known: pass preprocessing=...
    """
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"expected a torch.nn.Module to wrap, got {module!r:.80}. vitcam.load_model('timm:…') makes a model from "
            "a specification"
        )
    known = _known(module, preprocessing, weights, tokenizer)
    how = known.preprocessing if preprocessing is None else preprocessing
    if how is None:
        raise ModelError(
            f"how {type(module).__name__} wants its photographs isn't known: pass {known.remedy}"
        )
    names = known.class_names if class_names is None else tuple(map(str, class_names))
    loaded = LoadedModel(
        known.module,
        adopted_preprocessing(how),
        text_encoder=known.text_encoder,
        spec=name or type(module).__name__,
        multi_label=known.multi_label if multi_label is None else multi_label,
    )
    if loaded.promptable:
        return loaded if names is None else loaded.with_prompts(names)
    if names is not None or preprocessing is None:
        _check(loaded, names, "class_names" if class_names is not None else "its own class names")
    return replace(loaded, class_names=names, wordnet_ids=known.wordnet_ids if class_names is None else None)


def _known(module: nn.Module, preprocessing: Any, weights: Any, tokenizer: Any) -> Known:
    """What the library that a model is of knows of it."""
    library = _library(module)
    if weights is not None and library != "torchvision":
        raise ModelError(
            f"weights= is for models of torchvision, and {type(module).__name__} is none: pass preprocessing= and "
            "class_names="
        )
    # The library has been imported with the model; ours would import it otherwise.
    if library == "timm":
        from vitcam.models.from_timm import known_of_timm

        known = known_of_timm(module)
    elif library == "transformers":
        from vitcam.models.from_hf import known_of_hf

        known = known_of_hf(
            module, getattr(preprocessing, "tokenizer", None) if tokenizer is None else tokenizer
        )
    elif library == "torchvision":
        from vitcam.models.from_torchvision import known_of_torchvision

        known = known_of_torchvision(module, weights)
    elif library == "open_clip":
        from vitcam.models.from_open_clip import known_of_open_clip

        known = known_of_open_clip(module, tokenizer)
    else:
        known = Known(module)
    if tokenizer is not None and known.text_encoder is None:
        raise ModelError(
            f"tokenizer= is for models that compare images with texts (CLIP, SigLIP), and {type(module).__name__} "
            "isn't known as one: leave it out"
        )
    return known


def _library(module: nn.Module) -> str | None:
    """The library that a model's class, or one that it is derived from, belongs to."""
    packages = [kind.__module__.partition(".")[0] for kind in type(module).__mro__]
    return next((package for package in packages if package in LIBRARIES), None)


def _check(loaded: LoadedModel, names: tuple[str, ...] | None, which: str) -> None:
    if _needs_more(loaded.module):
        return
    module = loaded.module
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with torch.no_grad(), _evaluating(module):  # models may keep what they compute, for autograd too
            output = module(like.new_zeros(1, *loaded.preprocessing.shape))
    except Exception as error:  # whatever a model raises for an image
        raise ModelError(
            f"{loaded.spec} can't be run on {_sides(loaded.preprocessing)}, as its preprocessing makes it "
            f"({error}). Pass the one that fits it: preprocessing=vitcam.Preprocessing(size=…, mean=…, std=…)"
        ) from error
    logits = getattr(output, "logits", output)
    logits = logits["logits"] if isinstance(logits, dict) and "logits" in logits else logits
    logits = logits[0] if isinstance(logits, tuple | list) else logits
    if names is None or not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] == len(names):
        return
    raise ModelError(
        f"{loaded.spec} has {logits.shape[1]} classes, and {len(names)} names were found for them ({which}). Pass "
        f"class_names=(…) with {logits.shape[1]} names, in the order of its logits"
    )


def _sides(preprocessing: Adopted) -> str:
    size = "×".join(map(str, preprocessing.size))
    return (
        f"an image of {size}" if preprocessing.kind is PICTURE else f"a {preprocessing.kind.name} of {size}"
    )


def _needs_more(module: nn.Module) -> bool:
    """Whether forward has other arguments than the image that it can't do without."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(module.forward).parameters.values()
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    return len(needed) > 1 or any(p.name == "input_ids" for p in parameters)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Puts each module into evaluation mode for the duration of the ``with``, and back into its own."""
    training = [each for each in module.modules() if each.training]
    try:
        for each in training:
            each.training = False
        yield
    finally:
        for each in training:
            each.training = True

"""What a model takes a photograph for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from vitcam.app.input_files import InputFile
from vitcam.app.photo_files import PhotoFile
from vitcam.app.policy import MAX_CLASSES
from vitcam.app.prepared import Prepared
from vitcam.errors import ModelError, TargetError
from vitcam.models import LoadedModel
from vitcam.probability import to_probabilities
from vitcam.recording import logits_of

LISTED = 8
"""Classes that are listed of a model that has its own."""


@dataclass(frozen=True)
class Case:
    """A file as one model sees it.

    Attributes:
        file: the visitor's.
        spec: the model's specification.
        prompts: the texts that are the classes of a model that compares images with texts; () for others.
    """

    file: PhotoFile | InputFile
    spec: str
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """The most probable classes.

    Attributes:
        case: of what.
        promptable: whether the classes are the visitor's texts.
        classes: their indices, the most probable first.
        names: of these classes.
        probabilities: of these classes.
        all_names: of all classes of the model, in their order; () if they are the visitor's texts, or have no names.
    """

    case: Case
    promptable: bool
    classes: tuple[int, ...]
    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    all_names: tuple[str, ...] = ()

    @property
    def first_choice(self) -> tuple[int, ...]:
        """What is explained if the visitor ticks nothing: the predicted class, or all texts that fit."""
        return self.classes[:MAX_CLASSES] if self.promptable else self.classes[:1]


def classifier(loaded: LoadedModel, prompts: Sequence[str]) -> LoadedModel:
    """The model with its classes: its own, or the texts that it compares images with.

    Raises:
        TargetError: it needs texts, and there are none.
    """
    if not loaded.promptable:
        return loaded
    if not prompts:
        raise TargetError(
            f"{loaded.spec} compares images with texts and has no classes of its own. Write the texts, one per "
            "line, such as: a photo of a cat"
        )
    return replace(loaded.with_prompts(prompts), text_encoder=None)


def rank(loaded: LoadedModel, case: Case, prepared: Prepared) -> Ranking:
    """The most probable classes of a file.

    Args:
        loaded: the model of the case.
        case: what it is.
        prepared: what it gets of the file.

    Returns:
        No classes if the model needs texts, and there are none.

    Raises:
        ModelError: its logits aren't finite.
    """
    if loaded.promptable and not case.prompts:
        return Ranking(case, True, (), (), ())
    named, images = prepared.given(classifier(loaded, case.prompts))
    with torch.no_grad():
        logits = logits_of(named.module(named.preprocess(images)))[0].float()
    if not logits.isfinite().all():
        raise ModelError(
            f"{loaded.spec} gave logits for {case.file.name} that aren't finite (NaN or infinite). "
            f"Its weights are damaged, or it isn't made for such {case.file.tab.noun}s."
        )
    top = to_probabilities(logits, named.multi_label).topk(
        len(logits) if loaded.promptable else min(LISTED, len(logits))
    )
    classes = tuple(top.indices.tolist())
    return Ranking(
        case,
        loaded.promptable,
        classes,
        tuple(class_name(named, index) for index in classes),
        tuple(top.values.tolist()),
        () if loaded.promptable else loaded.class_names or (),
    )


def class_name(loaded: LoadedModel, index: int) -> str:
    """What a class is called.

    Example:
        >>> class_name(vitcam.load_model("embedded:photo"), 1)
        'cat'
    """
    return loaded.class_names[index] if loaded.class_names else f"class {index}"

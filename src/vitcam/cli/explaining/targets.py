"""From ``--target`` to what ``vitcam.compare`` explains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vitcam.cli.options import EMBEDDED, MORE_CLASSES
from vitcam.errors import TargetError
from vitcam.models.loaded import LoadedModel

Classes = None | str | list[int]


def choose_targets(
    model: LoadedModel, asked: Sequence[str], versus: str | None = None
) -> tuple[LoadedModel, Classes, int | None]:
    """What to explain, the same for every photograph, and the model that has these classes.

    Args:
        model: a classifier; or a model such as CLIP, which becomes a classifier of the texts asked for.
        asked: class names, indices, or one ``topK``; for CLIP, texts. Nothing means the predicted class.
        versus: the class whose score is taken away, likewise; None if none is.

    Returns:
        The model; None for the predicted class, ``"topK"``, or class indices; the index of the other class.

    Raises:
        TargetError: there is no such class, ``topK`` doesn't stand alone or is what others are compared with, or CLIP
            got no texts.

    Example:
        >>> choose_targets(vitcam.load_model("embedded:photo"), ["cat", "cup"])[1:]
        ([1, 42], None)
    """
    if model.promptable:
        texts = list(dict.fromkeys(asked))
        if not texts:
            raise TargetError(
                f'{model.spec} has no classes of its own: say which texts to compare, such as --target "a cat" '
                '--target "a dog"'
            )
        every = list(dict.fromkeys([*texts, *([] if versus is None else [versus])]))
        against = None if versus is None else every.index(versus)
        return replace(model.with_prompts(every), text_encoder=None), list(range(len(texts))), against
    tops = [target for target in asked if re.fullmatch(r"top\d+", target.strip())]
    if tops and len(asked) > 1:
        raise TargetError(
            f"--target {tops[0]} must stand alone: which classes it means differs from photograph to "
            "photograph. Leave it out, or the other targets"
        )
    if versus is not None and re.fullmatch(r"top\d+", versus.strip()):
        raise TargetError(f"--versus names one class, by its name or index, not {versus!r}")
    try:
        against = None if versus is None else model.class_index(versus)
        if tops:
            return model, tops[0].strip(), against
        return model, list(dict.fromkeys(map(model.class_index, asked))) or None, against
    except TargetError as error:
        if model.spec != EMBEDDED:
            raise
        raise TargetError(f"{str(error).removesuffix('.')}. {MORE_CLASSES}") from error

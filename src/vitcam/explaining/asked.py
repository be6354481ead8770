"""All that a user asks about classes: which, versus which, and by what they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitcam.answers import AnswerKind
from vitcam.errors import TargetError
from vitcam.explaining.targets import ClassIndex, Targets, most_probable, score_of
from vitcam.probability import to_probabilities
from vitcam.recording import Score

Versus = None | int | str | Sequence[Any] | Tensor | np.ndarray
SCORES = ("logit", "probability")
DIRECTIONS = {"up": 1, "down": -1}


@dataclass(frozen=True)
class Asked:
    """What a user wants explained, of a number of images.

    Attributes:
        targets: the classes, or a function of the model's output; see :func:`vitcam.explain`.
        versus: the classes whose scores are taken away; None if none are.
        score: what a class is scored by, one of ``SCORES``.
        multi_label: whether an image can have several classes, so that probabilities are sigmoids.
        direction: "up", what makes the score larger, or "down", what makes it smaller.
    """

    targets: Targets = None
    versus: Versus = None
    score: str = "logit"
    multi_label: bool = False
    direction: str = "up"

    def part(self, start: int, count: int, total: int) -> Asked:
        """That of some of the images."""
        return replace(
            self,
            targets=self.targets.of_images(start, count)
            if isinstance(self.targets, AnswerKind)
            else _part(self.targets, start, count, total),
            versus=_part(self.versus, start, count, total),
        )


def score_of_asked(asked: Asked, batch: int, class_index: ClassIndex | None) -> Score:
    """The score that stands for what a user asks.

    Args:
        asked: what to explain.
        batch: the number of images.
        class_index: from a class name to its index; None if the model has no class names.

    Raises:
        TargetError: there is no such score, or what is asked for doesn't fit the batch, or the model's classes; some
            of it is only known, and raised, once the model has given its logits.

    Example:
        >>> score = score_of_asked(Asked(targets="top2", versus=0), 1, None)
        >>> score.choose(torch.tensor([[0.1, 3.0, 2.0]])), score.versus(torch.tensor([[0.1, 3.0, 2.0]]))
        (tensor([[1, 2]]), tensor([[0]]))
    """
    if asked.score not in SCORES:
        raise TargetError(f"score must be 'logit' or 'probability', not {asked.score!r}")
    if asked.direction not in DIRECTIONS:
        raise TargetError(f"direction must be 'up' or 'down', not {asked.direction!r}")
    score = replace(score_of(asked.targets, batch, class_index), sign=DIRECTIONS[asked.direction])
    is_plain = asked.versus is None and asked.score == "logit"
    if is_plain:
        return score
    if not score.of_logits:
        what = "versus=" if asked.versus is not None else f"score={asked.score!r}"
        raise TargetError(
            f"`targets` is {'a function' if score.function else 'no class'} here, which says already what is "
            f"explained, so that {what} has no meaning. Give classes as targets, or a function that does it"
        )
    if asked.score == "probability":
        scale = partial(_probabilities, multi_label=asked.multi_label)
        score = replace(score, scale=scale, scale_name="probability")
    if asked.versus is None:
        return score
    if callable(asked.versus) or (isinstance(asked.versus, str) and most_probable(asked.versus) is not None):
        raise TargetError(
            f"versus names classes, by names or indices: one for all images, one for each, or one for each target; "
            f"not {asked.versus!r}"
        )
    return replace(score, versus=score_of(asked.versus, batch, class_index).choose)


def _probabilities(logits: Float[Tensor, "batch classes"], multi_label: bool) -> Tensor:
    return to_probabilities(logits if logits.dtype.itemsize > 2 else logits.float(), multi_label)


def _part(given: Any, start: int, count: int, total: int) -> Any:
    per_image = hasattr(given, "__getitem__") and not isinstance(given, str)
    if total == 1 or not per_image or getattr(given, "ndim", 1) == 0:
        return given
    return given[start : start + count]

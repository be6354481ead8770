"""The numbers that a model gives, as they are: of a regression, or a single logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import About, AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered


def value(index: int | str | Sequence[int | str] | None = None) -> AnswerKind:
    """A target: a number that the model gives, such as an age or a price, explained as it is.

    The map says what makes it larger; with ``direction="down"`` of :func:`vitcam.explain`, what makes it smaller. No
    probability is made of it. For a single logit that says yes or no, leave ``targets`` out: its probability is the
    sigmoid.

    Args:
        index: which of several, by index, or by name where the model has names; a list is a target each; None: all.

    Raises:
        TargetError: when it is explained: there is no such number, or the output is no tensor (batch,) or (batch,
            values).

    Example:
        >>> e = vitcam.explain(model, images, targets=vitcam.value(3), direction="down")
        >>> e.label(), e.answered[0][0].value == float(model(images)[0, 3])
        ('value 3, down', True)
    """
    return _Value(index)


@dataclass(frozen=True)
class _Value(AnswerKind):
    index: int | str | Sequence[int | str] | None
    about: About | None = None

    def prepared(self, about: About) -> AnswerKind:
        several = isinstance(self.index, Sequence) and not isinstance(self.index, str)
        given: Sequence[Any] = self.index if several else [self.index]  # type: ignore[assignment]  # by `several`
        if not given:
            raise TargetError(
                "value takes an index or name, a list of some, or nothing for all; got an empty list"
            )
        return replace(
            self, index=None if self.index is None else [about.index(each) for each in given], about=about
        )

    def table(self, output: Any) -> Float[Tensor, "batch values"]:
        logits = None if isinstance(output, Tensor) else named(output, "logits")
        found = output if logits is None else logits
        if isinstance(found, tuple | list) and len(found) == 1:
            found = found[0]
        if isinstance(found, Tensor) and found.dim() in (1, 2) and found.is_floating_point():
            return found[:, None] if found.dim() == 1 else found
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise TargetError(
            f"value explains numbers of a tensor (batch,) or (batch, values), and the model gave {what}. Of a map, "
            "explain a region (vitcam.region); else give a function from its output to one score per image"
        )

    def choose(self, table: Float[Tensor, "batch values"]) -> Int[Tensor, "batch targets"]:
        count = table.shape[1]
        chosen = list(range(count)) if self.index is None else self.index
        assert isinstance(chosen, list)
        if outside := [each for each in chosen if not 0 <= each < count]:
            raise TargetError(f"there is no value {outside[0]}: the model gives {count}, counted from 0")
        return torch.tensor(chosen, device=table.device).expand(len(table), -1)

    def describe(self, row: Float[Tensor, " values"], column: int, size: tuple[int, int]) -> Answered:
        names = None if self.about is None else self.about.class_names
        label = names[column] if names and column < len(names) else f"value {column}"
        return Answered(label, f"{float(row[column]):.4g}", float(row[column]))

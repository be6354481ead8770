"""An answer of another kind than a class, the same of every tile of a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers import About, AnswerKind
from vitcam.errors import TargetError
from vitcam.types import Answered


@dataclass(frozen=True)
class OfEveryTile(AnswerKind):
    """What is asked of one picture, asked of each of its tiles: a similarity to one reference, a value.

    An object that is found in one tile isn't there in others, so that there is no map of it over all of them.

    Attributes:
        answer: what is asked of the picture.
    """

    answer: AnswerKind

    def prepared(self, about: About) -> AnswerKind:
        return replace(self, answer=self.answer.prepared(replace(about, images=1)))

    def table(self, output: Any) -> Float[Tensor, batch * columns]:
        return self.answer.table(output)

    def choose(self, table: Float[Tensor, batch * columns]) -> Int[Tensor, "batch targets"]:
        rows = [self.answer.choose(table[tile : tile + 1]) for tile in range(len(table))]
        if not all(torch.equal(rows[0], row) for row in rows):
            raise self._refusal()
        return torch.cat(rows)

    def describe(self, row: Float[Tensor, "*columns"], column: int, size: tuple[int, int]) -> Answered:
        answered = self.answer.describe(row, column, size)
        if answered.box is not None:
            raise self._refusal()
        return answered

    def _refusal(self) -> TargetError:
        return TargetError(
            "what is explained in tiles must be the same in all of them, and lie nowhere in particular: a class, a "
            f"similarity or a value. {type(self.answer).__name__.strip('_')} is found anew in each tile: explain "
            "each by itself, as a picture of its own"
        )

"""What a model that writes about an image would write next: a token's logit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import About, AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered


def next_token(token: int | None = None, *, position: int = -1) -> AnswerKind:
    """A target: the logit of a token that a captioning model may write behind a text.

    y = z_p[token], where z_p are the logits that the model gives at place p of the text that it is given as
    ``input_ids``: of what comes behind the p-th token. Explain a caption word by word, each behind the words before.

    Args:
        token: its id in the model's vocabulary, as the tokenizer gives it; None: the most probable one there.
        position: p, counted from 0, or from the end if negative.

    Raises:
        TargetError: when it is explained: the model gives no logits (batch, length, vocabulary), or there is no such
            token or place.

    Example:
        >>> output = {"logits": torch.tensor([[[0.0, 2.0], [5.0, 1.0]]])}  # two places, a vocabulary of two
        >>> vitcam.next_token(1, position=0).table(output)
        tensor([[0., 2.]])
    """
    return _NextToken(token, position)


@dataclass(frozen=True)
class _NextToken(AnswerKind):
    """The table has the logits of the vocabulary at the one place."""

    token: int | None
    position: int
    about: About | None = None

    def prepared(self, about: About) -> AnswerKind:
        return replace(self, about=about)

    def table(self, output: Any) -> Float[Tensor, "batch vocabulary"]:
        logits = named(output, "logits")
        if not (isinstance(logits, Tensor) and logits.dim() == 3 and logits.is_floating_point()):
            raise TargetError(
                "next_token needs logits (batch, length, vocabulary), as captioning models give them; the model gave "
                f"a {type(output).__name__} without them. Give it the text so far as inputs={{'input_ids': …}}"
            )
        length = logits.shape[1]
        if not -length <= self.position < length:
            raise TargetError(
                f"there is no place {self.position}: the text has {length} tokens, counted from 0"
            )
        return logits[:, self.position]

    def choose(self, table: Float[Tensor, "batch vocabulary"]) -> Int[Tensor, "batch targets"]:
        if self.token is None:
            return table.argmax(dim=1, keepdim=True)
        if not 0 <= self.token < table.shape[1]:
            raise TargetError(f"there is no token {self.token}: the vocabulary has {table.shape[1]}, from 0")
        return torch.full((len(table), 1), self.token, device=table.device)

    def describe(self, row: Float[Tensor, " vocabulary"], column: int, size: tuple[int, int]) -> Answered:
        sure = float(row.float().softmax(dim=0)[column])
        return Answered(f"token {column} next", f"{sure:.0%}", float(row[column]))

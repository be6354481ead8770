"""How well an image and the text that is given with it belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered


def matching() -> AnswerKind:
    """A target: how well each image fits its own text, by a model that is given both.

    y = the model's logit of the pair: of a dual encoder (CLIP, SigLIP) image i with text i, ``logits_per_image``; of
    a model of both together its ``itm_score`` for a match (BLIP), or its only logit (ViLT). The text is given by
    ``inputs``, a row for each image. The map is the picture's; by ``gae`` the text's tokens get weights of the same
    kind, in ``Explanation.text``.

    Raises:
        TargetError: when it is explained: the model gives no such score, or not as many texts as images.

    Example:
        >>> output = {"itm_score": torch.tensor([[0.2, 1.3]])}  # of one image and one text: no match, match
        >>> vitcam.matching().table(output)
        tensor([[1.3000]])
    """
    return _Matching()


@dataclass(frozen=True)
class _Matching(AnswerKind):
    """The table has one column: of the other texts of a batch nothing is asked."""

    def table(self, output: Any) -> Float[Tensor, "batch 1"]:
        pairs, joint = named(output, "logits_per_image"), named(output, "itm_score")
        if isinstance(pairs, Tensor) and pairs.dim() == 2:
            if pairs.shape[0] != pairs.shape[1]:
                raise TargetError(
                    f"matching compares each image with its own text, and the model was given {pairs.shape[0]} images"
                    f" and {pairs.shape[1]} texts: give inputs with one row for each image. For several texts of one "
                    "image, load the model with vitcam.load_model and give the texts as targets"
                )
            return pairs.diagonal()[:, None]
        if isinstance(joint, Tensor) and joint.dim() == 2 and joint.shape[1] == 2:
            return joint[:, 1:]
        single = named(output, "logits")
        if isinstance(single, Tensor) and single.dim() == 2 and single.shape[1] == 1:
            return single
        raise TargetError(
            f"matching needs logits_per_image (images, texts), itm_score (batch, 2), or logits (batch, 1); the model "
            f"gave a {type(output).__name__} without them. Give it the text as inputs={{'input_ids': …}}; of another "
            "output give a function of it as targets"
        )

    def choose(self, table: Float[Tensor, "batch 1"]) -> Int[Tensor, "batch targets"]:
        return torch.zeros(len(table), 1, dtype=torch.long, device=table.device)

    def describe(self, row: Float[Tensor, 1], column: int, size: tuple[int, int]) -> Answered:
        return Answered("match", f"logit {float(row[0]):.3g}", float(row[0]))

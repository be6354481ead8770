"""The scores that are explained: logits of chosen classes, or whatever a function makes of the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_map

from vitcam.errors import TargetError
from vitcam.recording.output import find_logits, logits_of

Scorer = Callable[[Any], Float[Tensor, "batch targets"]]


@dataclass(frozen=True)
class Score:
    """Which scores to explain.

    Attributes:
        choose: from the logits (batch, classes) to the indices (batch, targets) of the classes to explain.
        function: instead of classes, a function from the model's output to scores.

    Example:
        >>> predicted = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> predicted.targets(model(images), batch=8).shape
        torch.Size([8, 1])
        >>> difference = Score(function=lambda logits: logits[:, 281] - logits[:, 282])
        >>> scorer = difference.scorer(None)
        >>> scorer(model(images)).shape
        torch.Size([8, 1])
    """

    choose: Callable[[Float[Tensor, "batch classes"]], Int[Tensor, "batch targets"]] | None = None
    function: Callable[[Any], Tensor] | None = None

    def targets(self, output: Any, batch: int) -> Int[Tensor, "batch targets"]:
        """The class indices; -1 where a function gives the scores."""
        if self.choose is not None:
            chosen = self.choose(logits_of(output))
            # autograd takes no tensor that was made in inference mode, but a copy of it
            return chosen.clone() if chosen.is_inference() else chosen
        scores = self.scorer(None)(output)
        if scores.shape[0] != batch:
            raise TargetError(
                f"the `targets` function returned scores of shape {tuple(scores.shape)} for {batch} images; "
                "it must return one score, or one row of scores, per image"
            )
        return torch.full(scores.shape, -1, dtype=torch.long, device=scores.device)

    def reads_more_than_logits(self, output: Any) -> bool:
        """Whether the score may depend on anything in a model's output besides the logits.

        Example:
            >>> output = {"logits": torch.ones(2, 5), "features": torch.ones(2, 3)}
            >>> Score(function=lambda output: output["logits"][:, 0]).reads_more_than_logits(output)
            False
            >>> Score(function=lambda output: output["features"][:, 0]).reads_more_than_logits(output)
            True
        """
        logits = find_logits(output)
        if self.function is None or output is logits:
            return False
        if logits is None:
            return True
        lost = [0]

        def without(leaf: Any) -> Any:
            if leaf is logits or not isinstance(leaf, Tensor):
                return leaf
            lost[0] += 1
            return torch.full_like(leaf, torch.nan) if leaf.is_floating_point() else leaf

        rest = tree_map(without, output)
        if not lost[0] and isinstance(output, tuple | list | Mapping):
            return False  # nothing else is in it
        with torch.no_grad():
            scores = self.scorer(None)(output)
            try:
                again = self.scorer(None)(rest)
            except Exception:  # what a function makes of NaN; it has read some
                return True
        return not lost[0] or not torch.equal(scores, again)

    def scorer(self, targets: Int[Tensor, "batch targets"] | None) -> Scorer:
        """The function from an output to the scores (batch, targets), the classes settled."""
        if self.function is None:
            assert targets is not None
            return lambda output: logits_of(output).gather(1, targets)
        function = self.function

        def scores(output: Any) -> Tensor:
            value = function(output)
            if not (isinstance(value, Tensor) and value.dim() in (1, 2) and value.is_floating_point()):
                what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise TargetError(
                    f"the `targets` function must return a float tensor of shape (batch,) or (batch, targets); "
                    f"it returned {what}"
                )
            if not value.numel():
                raise TargetError(
                    f"the `targets` function returned no scores: a tensor of {tuple(value.shape)}"
                )
            return value[:, None] if value.dim() == 1 else value

        return scores

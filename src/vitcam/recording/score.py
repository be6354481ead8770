"""The scores that are explained: logits found in a model's output, or whatever a function makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_map

from vitcam.errors import ModelError, TargetError
from vitcam.types import Answered

Scorer = Callable[[Any], Float[Tensor, "batch targets"]]


def find_logits(output: Any) -> Float[Tensor, "batch classes"] | None:
    """The logits in a model's output; None if there are none, or if they can't be told from features.

    They are the output itself, its ``.logits`` or its ``["logits"]``. Of a tuple or list they are the first element,
    as in (logits, attention maps) or (logits, logits of an auxiliary head), unless there is another table
    (batch, columns) of another width: (features, logits) and (logits, features) look alike.
    """
    candidate = _named(output)
    if isinstance(candidate, tuple | list) and candidate:
        candidate = None if _is_ambiguous(candidate) else candidate[0]
    return candidate if _is_table(candidate) else None


def logits_of(output: Any) -> Float[Tensor, "batch classes"]:
    """The logits in a model's output.

    Raises:
        ModelError: there are none, or several tensors could be; the message says what the model returned.

    Example:
        >>> logits_of(model(images)).shape
        torch.Size([8, 1000])
    """
    logits = find_logits(output)
    if logits is not None:
        return logits
    if _is_ambiguous(_named(output)):
        raise ModelError(
            f"the model returned {_describe(_named(output))}: which of them are the logits and which are features "
            "can't be known. Let it return the logits alone, or under a name (`logits`), or pass `targets` as a "
            "function from its output to one score per image, for example targets=lambda output: output[1][:, 0]"
        )
    raise ModelError(
        f"the model returned {_describe(output)}, in which there are no logits of shape (batch, classes). "
        "Use a model with a classification head, or pass `targets` as a function from the model's output "
        "to one score per image, for example targets=lambda output: output.pooler_output[:, 0], or another kind of "
        "answer: vitcam.similar_to(…), vitcam.value(…), vitcam.detections(…), vitcam.region(…)"
    )


def _named(output: Any) -> Any:
    """What a model calls logits; its whole output if it has no such name."""
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)


def _is_table(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point()


def _is_ambiguous(candidate: Any) -> bool:
    """Whether the first of several is a table (batch, columns), and another one is a wider or narrower table."""
    if not isinstance(candidate, tuple | list) or not candidate or not _is_table(candidate[0]):
        return False
    return len({element.shape[1] for element in candidate if _is_table(element)}) > 1


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if hasattr(output, "keys"):
        return f"{type(output).__name__} with {', '.join(map(str, output.keys()))}"
    if isinstance(output, tuple | list) and any(isinstance(element, Tensor) for element in output):
        elements = (
            str(tuple(element.shape)) if isinstance(element, Tensor) else type(element).__name__
            for element in output
        )
        return f"a {type(output).__name__} of {' and '.join(elements)}"
    return f"a {type(output).__name__}"


@dataclass(frozen=True)
class Score:
    """Which scores to explain.

    Attributes:
        choose: from the logits (batch, classes) to the indices (batch, targets) of the classes to explain.
        function: instead of classes, a function from the model's output to scores.
        versus: likewise to the indices (batch, 1) or (batch, targets) of classes whose scores are taken away; None
            if none are.
        scale: from the logits to the values of which a class's is its score, such as probabilities; None for the
            logits themselves.
        scale_name: what such a value is called.
        read: from a model's output to the table (batch, …) that stands in the place of logits: what can be explained,
            whose indices are places in a row laid flat. No entry of a row may depend on other images.
        described: from such a table, the places explained and the size of the images to what these columns are,
            per image and target; None of classes.
        sign: 1, or -1 to explain what makes a score smaller.

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
    versus: Callable[[Float[Tensor, "batch classes"]], Int[Tensor, "batch _targets"]] | None = None
    scale: Callable[[Float[Tensor, "batch classes"]], Float[Tensor, "batch classes"]] | None = None
    scale_name: str = "logit"
    read: Callable[[Any], Float[Tensor, batch * columns]] = logits_of
    described: Callable[[Tensor, Tensor, tuple[int, int]], tuple[tuple[Answered, ...], ...]] | None = None
    sign: int = 1

    @property
    def of_logits(self) -> bool:
        """Whether it is of the logits of classes."""
        return self.function is None and self.read is logits_of

    def targets(self, output: Any, batch: int) -> Int[Tensor, "batch targets"]:
        """The class indices, or columns of another table; -1 where a function gives the scores."""
        if self.choose is not None:
            return _no_inference(self.choose(self.read(output)))
        scores = self.scorer(None)(output)
        if scores.shape[0] != batch:
            raise TargetError(
                f"the `targets` function returned scores of shape {tuple(scores.shape)} for {batch} images; "
                "it must return one score, or one row of scores, per image"
            )
        return torch.full(scores.shape, -1, dtype=torch.long, device=scores.device)

    def against(
        self, output: Any, targets: Int[Tensor, "batch targets"]
    ) -> Int[Tensor, "batch targets"] | None:
        """The indices of the classes whose scores are taken away from the targets'; None if none are.

        Raises:
            TargetError: there aren't as many as targets, or one of them is its own target.

        Example:
            >>> score = Score(lambda logits: logits.argmax(1, True), versus=lambda logits: logits.argmin(1, True))
            >>> logits = torch.tensor([[1.0, 3.0, 2.0]])
            >>> score.against(logits, score.targets(logits, batch=1))
            tensor([[0]])
        """
        if self.versus is None:
            return None
        versus = _no_inference(self.versus(self.read(output)))
        if versus.shape[1] not in (1, targets.shape[1]):
            raise TargetError(
                f"versus names {versus.shape[1]} classes for an image, and there are {targets.shape[1]} targets: "
                "give one class, or one for each target"
            )
        versus = versus.expand_as(targets)
        if (same := (versus == targets).nonzero()).numel():
            image, target = same[0].tolist()
            raise TargetError(
                f"versus is the class that is explained itself, class {int(targets[image, target])} (image {image} "
                "of the batch), so that nothing is left of the score. Give another one, or say by targets which "
                "class is to be explained, which otherwise is the predicted one"
            )
        return versus

    def settled(
        self, targets: Int[Tensor, "batch targets"], versus: Int[Tensor, "batch targets"] | None
    ) -> Score:
        """The same score of the same classes, whatever the logits of another pass are.

        Example:
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> score.settled(torch.tensor([[2]]), None).targets(torch.tensor([[9.0, 0.0, 0.0]]), batch=1)
            tensor([[2]])
        """
        if self.function is not None:
            return self
        return replace(
            self, choose=lambda logits: targets, versus=None if versus is None else lambda logits: versus
        )

    def called(self, index: int) -> str:
        """What the score of a class is called in a sentence.

        Example:
            >>> Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True)).called(281)
            'the logit of class 281'
        """
        if index < 0 or not self.of_logits:
            return "the score that `targets` computes"
        return f"the {self.scale_name} of class {index}{', less that of another,' if self.versus else ''}"

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
        if self.of_logits or output is logits:
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
            read = self.read if self.function is None else self.scorer(None)
            scores = read(output)
            try:
                again = read(rest)
            except Exception:  # what a function makes of NaN; it has read some
                return True
        return not lost[0] or not torch.equal(scores, again)

    def scorer(
        self,
        targets: Int[Tensor, "batch targets"] | None,
        versus: Int[Tensor, "batch targets"] | None = None,
    ) -> Scorer:
        """The function from an output to the scores (batch, targets), the classes settled.

        Args:
            targets: the classes; None where a function gives the scores.
            versus: those whose scores are taken away: what :meth:`against` gives.

        Raises:
            TargetError: such are asked for, and not given here, so that it would be another score.
        """
        if self.function is None:
            assert targets is not None
            if (self.versus is None) != (versus is None):
                raise TargetError(
                    "this method takes the score of a class alone, so that it can't explain one class versus another"
                )
            return lambda output: self.of_table(self.read(output), targets, versus)
        function, sign = self.function, self.sign

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
            return sign * (value[:, None] if value.dim() == 1 else value)

        return scores

    def of_table(
        self,
        table: Float[Tensor, batch * columns],
        targets: Int[Tensor, "batch targets"],
        versus: Int[Tensor, "batch targets"] | None,
    ) -> Float[Tensor, "batch targets"]:
        """s_t, or s_t − s_v, of the logits or what stands in their place; with the sign.

        Example:
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> score.of_table(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[1, 0]]), None)
            tensor([[3., 1.]])
        """
        values = table.flatten(1) if self.scale is None else self.scale(table)
        scores = values.gather(1, targets)
        return self.sign * (scores if versus is None else scores - values.gather(1, versus))


def _no_inference(tensor: Tensor) -> Tensor:
    """Autograd takes no tensor that was made in inference mode, but a copy of it."""
    return tensor.clone() if tensor.is_inference() else tensor

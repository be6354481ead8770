"""Objects that a model finds: which query found one, and the score of its class or the place of its box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import About, AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered

SIDES = ("left", "top", "right", "bottom")
BY = ("class", *SIDES)


def detections(
    label: int | str | None = None,
    *,
    top: int | None = None,
    threshold: float | None = None,
    query: int | None = None,
    by: str = "class",
    no_object: bool | None = None,
) -> AnswerKind:
    """Targets: objects that a detector finds, each the answer of one of its queries (or tokens).

    A query q is as sure of an object as its most probable class. Explained is that class's logit, or a side of the
    box, in shares of the image's width or height. Overlapping boxes aren't merged, as DETR needs no such step; of
    detectors that do, several queries may find one object. Which queries those are is settled once, by the images as
    they are.

    Args:
        label: the class, by name or index, whose probability is looked at; None: each query's most probable one.
        top: this many of the queries that are most sure, in that order. 1 unless there is a threshold.
        threshold: instead, all queries at least as sure as this; they must be as many in each image.
        query: instead, the query of this number.
        by: "class", or "left", "top", "right" or "bottom": a side of the box.
        no_object: whether the last column of the logits stands for "no object", so that probabilities are a softmax
            (DETR, YOLOS), or each is a sigmoid of its own (RT-DETR, OWL-ViT). None: by the number of classes in the
            model's configuration.

    Raises:
        TargetError: options contradict each other; or when it is explained: the model gives no queries' logits
            (batch, queries, classes) as ``logits`` and no ``pred_boxes``, or nothing is found.

    Example:
        >>> vitcam.detections("cat", top=2)
        _Detections(label='cat', top=2, threshold=None, query=None, by='class', ...)
    """
    options = {"top": top, "threshold": threshold, "query": query}
    given = [name for name, option in options.items() if option is not None]
    if len(given) > 1:
        raise TargetError(f"detections takes one of top=, threshold= and query=; got {' and '.join(given)}")
    if by not in BY:
        raise TargetError(f"detections explains by='class' or a side of the box, {SIDES}; got {by!r}")
    if threshold is not None and not 0 < threshold <= 1:
        raise TargetError(f"threshold is a probability above 0, up to 1; got {threshold!r}")
    if top is not None and (type(top) is not int or top < 1):
        raise TargetError(f"top is a whole number of 1 or more; got {top!r}")
    return _Detections(label, 1 if not given else top, threshold, query, by, no_object)


@dataclass(frozen=True)
class _Detections(AnswerKind):
    """The table has the logits of each query, and behind them the four sides of its box."""

    label: int | str | None
    top: int | None
    threshold: float | None
    query: int | None
    by: str
    no_object: bool | None
    about: About | None = None

    def prepared(self, about: About) -> AnswerKind:
        label = None if self.label is None else about.index(self.label)
        return replace(self, label=label, about=about)

    def table(self, output: Any) -> Float[Tensor, "batch queries classes_and_sides"]:
        logits, boxes = named(output, "logits"), named(output, "pred_boxes")
        is_found = isinstance(logits, Tensor) and isinstance(boxes, Tensor) and logits.dim() == 3
        if not is_found or boxes.shape != (*logits.shape[:2], 4):
            raise TargetError(
                "detections needs a detector's output: logits (batch, queries, classes) and pred_boxes (batch, "
                "queries, 4), each box as (centre x, centre y, width, height) in shares of the image; the model gave "
                f"a {type(output).__name__} without them. Of another output give a function of it as targets"
            )
        x, y, width, height = boxes.unbind(dim=-1)
        sides = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)
        return torch.cat([logits, sides.to(logits.dtype)], dim=2)

    def choose(self, table: Float[Tensor, "batch queries classes_and_sides"]) -> Int[Tensor, "batch targets"]:
        probabilities = self._probabilities(table)
        sure, of_class = probabilities.max(dim=2)
        if isinstance(self.label, int):
            if not 0 <= self.label < probabilities.shape[2]:
                raise TargetError(
                    f"there is no class {self.label}: this detector has {probabilities.shape[2]}, counted from 0"
                )
            sure, of_class = probabilities[..., self.label], torch.full_like(of_class, self.label)
        queries = self._queries(sure)
        columns = table.shape[2]
        if self.by == "class":
            return queries * columns + of_class.gather(1, queries)
        return queries * columns + columns - 4 + SIDES.index(self.by)

    def describe(
        self, row: Float[Tensor, "queries classes_and_sides"], column: int, size: tuple[int, int]
    ) -> Answered:
        query, column = divmod(column, row.shape[1])
        probabilities = self._probabilities(row[None])[0, query]
        index = self.label if isinstance(self.label, int) else int(probabilities.argmax())
        name = f"class {index}" if self.about is None else self.about.name(index)
        sure, value = f"{float(probabilities[index]):.0%}", float(row[query, column])
        if self.by != "class":
            name, sure = f"{self.by} of {name}", f"{value:.3f} ({sure})"
        left, top, right, bottom = (float(side) for side in row[query, -4:])
        height, width = size
        box = (left * width, top * height, right * width, bottom * height)
        return Answered(f"{name}, query {query}", sure, value, index, box)

    def _queries(self, sure: Float[Tensor, "batch queries"]) -> Int[Tensor, "batch targets"]:
        count = sure.shape[1]
        if self.query is not None:
            if not 0 <= self.query < count:
                raise TargetError(
                    f"there is no query {self.query}: this detector has {count}, counted from 0"
                )
            return torch.full((len(sure), 1), self.query, device=sure.device)
        order = sure.sort(dim=1, descending=True, stable=True).indices
        if self.top is not None:
            if self.top > count:
                raise TargetError(
                    f"top={self.top} asks for more than the {count} queries that this detector has"
                )
            return order[:, : self.top]
        assert self.threshold is not None
        found = (sure >= self.threshold).sum(dim=1)
        if not bool(found.all()):
            image = int((found == 0).nonzero()[0, 0])
            raise TargetError(
                f"nothing is found that is as sure as threshold={self.threshold} (image {image} of the batch; the "
                f"most is {float(sure[image].max()):.3f}). Lower it, or ask for the most sure, top=1"
            )
        if len(found.unique()) > 1:
            raise TargetError(
                f"every image needs the same number of targets, and {found.tolist()} objects are as sure as "
                f"threshold={self.threshold}: explain image by image, or as many of each, top={int(found.min())}"
            )
        return order[:, : int(found[0])]

    def _probabilities(
        self, table: Float[Tensor, "batch queries classes_and_sides"]
    ) -> Float[Tensor, "batch queries classes"]:
        """Of objects alone."""
        logits = table[..., :-4].detach().float()
        return logits.softmax(dim=2)[..., :-1] if self._has_no_object(logits.shape[2]) else logits.sigmoid()

    def _has_no_object(self, columns: int) -> bool:
        if self.no_object is not None:
            return self.no_object
        config = None if self.about is None else getattr(self.about.module, "config", None)
        if getattr(config, "text_config", None) is not None:  # its classes are texts, as many as there are
            return False
        known = getattr(config, "num_labels", None)
        if known not in (columns, columns - 1):
            raise TargetError(
                f"whether the last of the {columns} columns of the detector's logits stands for 'no object' isn't "
                "known: say it by detections(…, no_object=True), as in DETR, or no_object=False, where each class is "
                "a sigmoid"
            )
        return bool(known == columns - 1)

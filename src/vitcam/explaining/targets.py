"""From what a user asks to be explained to class indices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_leaves

from vitcam.answers import AnswerKind
from vitcam.errors import ModelError, TargetError
from vitcam.recording import Score, find_logits

Targets = None | int | str | Sequence[Any] | Tensor | np.ndarray | Callable[[Any], Tensor] | AnswerKind
ClassIndex = Callable[[str], int]


def score_of(targets: Targets, batch: int, class_index: ClassIndex | None) -> Score:
    """The score that a user's ``targets`` stand for.

    Args:
        targets: None (the predicted class of each image), a class index, a class name, ``"topK"`` (the K most
            probable classes; all of them, if there are fewer), a sequence, array or tensor (batch,) or
            (batch, targets) of indices or names, or a function from the model's output to scores (batch,) or
            (batch, targets); or a kind of answer, see :mod:`vitcam.answers`.
            For a single image a flat sequence names its classes. Labels of 0 and 1 with a column per class are no
            indices, and refused.
        batch: the number of images.
        class_index: from a class name to its index; None if the model has no class names.

    Raises:
        TargetError: the targets don't fit the batch, or the model's classes; some of it is only known, and
            raised, once the model has given its logits.

    Example:
        >>> score_of("top2", 1, None).choose(torch.tensor([[0.1, 3.0, 2.0]]))
        tensor([[1, 2]])
    """
    if isinstance(targets, AnswerKind):
        return targets.score()
    if callable(targets) and not isinstance(targets, Tensor):
        return Score(function=targets)
    if targets is None:
        return Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
    if isinstance(targets, str) and (count := most_probable(targets)) is not None:
        return Score(choose=lambda logits: _most_probable(logits, count))
    indices = as_indices(targets, batch, class_index)

    def choose(logits: Float[Tensor, "batch classes"]) -> Int[Tensor, "batch targets"]:
        _refuse_one_hot(indices, logits.shape[1])
        return _within(indices.to(logits.device), logits.shape[1])

    return Score(choose=choose)


def most_probable(targets: str) -> int | None:
    """K of ``"topK"``; None for any other text.

    Example:
        >>> most_probable("top5")
        5
    """
    top = re.fullmatch(r"top(\d+)", targets.strip())
    return int(top[1]) if top else None


def as_indices(targets: Any, batch: int, class_index: ClassIndex | None) -> Int[Tensor, "batch targets"]:
    """The indices that classes stand for, given by name or index, a row for each image.

    Raises:
        TargetError: they don't fit the batch, or there is no such name.

    Example:
        >>> as_indices([4, 2], 1, None)
        tensor([[4, 2]])
    """
    if isinstance(targets, Tensor):
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise TargetError(f"targets must be integers (class indices), not a tensor of {targets.dtype}")
        indices = targets.as_subclass(Tensor).long()
    else:
        try:
            indices = torch.tensor(_resolve(targets, class_index), dtype=torch.long)
        except ValueError as error:
            if isinstance(error, TargetError):
                raise
            raise TargetError(f"every image needs the same number of targets; got {targets!r}") from error
    if indices.dim() == 0:
        return indices.expand(batch, 1)
    if indices.dim() == 1 and len(indices) == batch:
        return indices[:, None]
    if indices.dim() == 1 and batch == 1 and len(indices):
        return indices[None, :]
    if indices.dim() == 2 and indices.shape[0] == batch and indices.shape[1]:
        return indices
    raise TargetError(
        f"targets of shape {tuple(indices.shape)} don't fit {batch} images; expected one index or name, a "
        f"sequence of {batch}, or one of shape ({batch}, targets)"
    )


def _resolve(target: Any, class_index: ClassIndex | None) -> Any:
    if isinstance(target, str):
        if class_index is None:
            raise TargetError(
                f"this model has no class names, so {target!r} can't be looked up; give the index of the class"
            )
        return class_index(target)
    if hasattr(target, "tolist"):  # an array, or a number of one
        target = target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, bytes):
        return [_resolve(item, class_index) for item in target]
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TargetError(f"a target must be a class index or a class name, not {target!r}")
    return int(target)


def _most_probable(logits: Float[Tensor, "batch classes"], count: int) -> Int[Tensor, "batch targets"]:
    if not count:
        raise TargetError("'top0' asks for no class; ask for the most probable ones, as in 'top5'")
    return logits.topk(min(count, logits.shape[1]), dim=1).indices


def _refuse_one_hot(indices: Int[Tensor, "batch targets"], classes: int) -> None:
    """Labels of one column per class aren't read as a list of the classes 0 and 1, which would say each twice."""
    of_hot = (indices == 0) | (indices == 1)
    if indices.shape[1] != classes or classes < 3 or not of_hot.all():
        return
    ones = indices.sum(dim=1)
    if ((ones > 0) & (ones < classes)).all():
        kind, use = (
            ("one-hot labels", "targets.argmax(dim=1)")
            if (ones == 1).all()
            else (
                "labels of several classes per image (multi-hot)",
                "[row.nonzero().flatten() for row in targets]",
            )
        )
        raise TargetError(
            f"targets of shape {tuple(indices.shape)} hold only 0 and 1, with a column for each of the model's "
            f"{classes} classes: they look like {kind}, and would be read as {classes} class indices per image. "
            f"Give the indices: {use}"
        )


def _within(indices: Int[Tensor, "batch targets"], classes: int) -> Int[Tensor, "batch targets"]:
    outside = indices[(indices < 0) | (indices >= classes)]
    if len(outside):
        raise TargetError(
            f"class index {int(outside[0])} is out of range; this model has {classes} classes, 0 to {classes - 1}"
        )
    return indices


def anything(output: Any) -> Float[Tensor, " batch"]:
    """A score that depends on all that a model gives, for what has nothing to do with classes.

    Raises:
        ModelError: the model gave nothing that one can calculate with.

    Example:
        >>> anything(model(images)).shape
        torch.Size([8])
    """
    found = find_logits(output)
    if found is None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        found = next((leaf for leaf in tensors if leaf.is_floating_point() and leaf.dim() > 1), None)
    if found is None:
        raise ModelError(
            f"the model returned a {type(output).__name__} without a tensor (batch, …) of numbers, so that it can't "
            "be seen what its head reads"
        )
    flat = found.flatten(1).float()
    generator = torch.Generator().manual_seed(0)
    return flat @ torch.randn(flat.shape[1], generator=generator).to(flat)

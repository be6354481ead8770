"""Models that give numbers and no classes: what is asked of them are values."""

from __future__ import annotations

from operator import index

from torch import nn

from vitcam.answers import AnswerKind, value
from vitcam.errors import TargetError
from vitcam.explaining.targets import Targets, most_probable


def is_regression(module: nn.Module) -> bool:
    """Whether a model's configuration says so, as that of Hugging Face does (``problem_type="regression"``).

    Example:
        >>> is_regression(torch.nn.Linear(3, 1))
        False
    """
    return bool(getattr(getattr(module, "config", None), "problem_type", None) == "regression")


def as_values(targets: Targets, module: nn.Module) -> Targets:
    """What a user asks of a regression in the words of classes, as values: no probability is made of them.

    Nothing asked for means every number that the model gives.

    Raises:
        TargetError: it could be meant in more than one way, or has no meaning.
    """
    if not is_regression(module) or isinstance(targets, AnswerKind) or callable(targets):
        return targets
    if targets is None or (isinstance(targets, str) and most_probable(targets) is None):
        return value(targets)
    if hasattr(targets, "__index__") and getattr(targets, "ndim", 0) == 0:
        return value(index(targets))
    raise TargetError(
        f"{type(module).__name__} gives numbers and no classes (problem_type='regression' in its configuration), of "
        f"which none is more probable than another: give vitcam.value(0), or vitcam.value([0, 2]) for several; got "
        f"targets={targets!r:.60}"
    )

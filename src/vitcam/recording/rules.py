"""What the recording knows of rules by which gradients go back through a model instead of as calculus has them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class RuledPass:
    """A forward pass whose gradients go back by rules.

    Attributes:
        check: makes sure that there was a rule for all that the model did, given its output.
        biases: a list of what biases contribute to what goes back inside a ``with``: for each of them
            Σ_c b_c · gradient_c, of the shape of what it is added to, less its channels.
    """

    check: Callable[[Any], None]
    biases: Callable[[], AbstractContextManager[list[Tensor]]]


@dataclass(frozen=True)
class Rules:
    """Rules by which gradients go back.

    Attributes:
        name: as users know them.
        complete: whether input × gradient and bias × gradient add up to the score.
        applied: the context in which a model is run on a number of images.
    """

    name: str
    complete: bool
    applied: Callable[[int], AbstractContextManager[RuledPass]]

"""One call of a torch function through which relevance has to pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.relevance.precise import at_least

Operation = Literal[
    "linear",  # F.linear, and a matrix product with a constant
    "projection",  # the linear maps that make an attention's q, k, v, and the one that takes its output
    "convolution",
    "norm",  # layer, RMS, group and batch norm, F.normalize
    "activation",  # any function of single elements
    "softmax",
    "attention",  # scaled dot-product attention
    "matmul",  # of two operands that both carry
    "add",  # idem
    "multiply",  # idem
    "gate",  # value × sigmoid, value ÷ divisor: the first operand is the value
    "scale",  # times or divided by a constant, plus a constant, dropout
    "pool",  # sums and means
    "mixture",  # any other linear function
]

Messages = tuple[Tensor | None, ...]
"""What a rule answers: for each operand its relevance, or None where none arrives."""


@dataclass(eq=False)
class Call:
    """A torch function, what it was given and what it gave.

    The operands that carry relevance are leaves of a small autograd graph of their own, which ends in
    ``output``. So a rule can ask for the ordinary vector-Jacobian product too.

    Attributes:
        operation: the kind of operation by which a rule set finds the rule (``"linear"``, ``"add"``, …).
        function: computes the output from the operands.
        operands: all tensors that the function takes, constants (weights, masks) included.
        transpose: for a map linear in its first operand: (message, weight) → message times the transposed
            weight, in the shape of the first operand.
        frozen: for a norm: the same output from its first operand, its statistics held constant.
        vjp: the gradient with respect to the first operands, from the operands and ``message=``, where
            torch's own would keep too much; no graph is kept then.
        options: numbers that a rule needs (an attention's scale).
        name: torch's name of the function.
        shift: what a norm adds behind its statistics, in a shape that broadcasts to the output.
        affine: whether the function is linear in its carrying operands but for a constant that it adds.
        sources: for a product of two carrying operands: the names of the functions that made each of them.
        images: number of images in the batch.
    """

    operation: Operation
    function: Callable[..., Tensor]
    operands: tuple[Any, ...]
    transpose: Callable[[Tensor, Tensor], Tensor] | None = None
    frozen: Callable[[Tensor], Tensor] | None = None
    vjp: Callable[..., tuple[Tensor, ...]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    shift: Tensor | None = None
    affine: bool = False
    sources: tuple[frozenset[str], ...] = ()
    images: int = 1

    def __post_init__(self) -> None:
        self.carries = tuple(isinstance(x, Tensor) and x.requires_grad for x in self.operands)

    def run(self) -> Tensor:
        """Computes the output and keeps it, with a graph back to the carrying operands only."""
        self.operands = tuple(
            x.detach().requires_grad_() if carries else x
            for x, carries in zip(self.operands, self.carries, strict=True)
        )
        with torch.set_grad_enabled(self.vjp is None):
            self._output = self.function(*self.operands)
        self._versions = [x._version for x in self._carriers]
        self._output_version = self._output._version
        return self._output.detach()

    @property
    def _carriers(self) -> list[Tensor]:
        return [x for x, carries in zip(self.operands, self.carries, strict=True) if carries]

    def check(self) -> None:
        """Makes sure that the model hasn't overwritten the operands since the call.

        Raises:
            MethodError: it has.
        """
        if self._versions != [x._version for x in self._carriers]:
            raise MethodError(
                f"the model overwrites in place a tensor that {self.name} has read, so relevance can't be "
                "propagated through it; replace the in-place operation after it, or choose a method "
                "without relevance propagation (agcam, rollout, gae)"
            )

    @property
    def output(self) -> Tensor:
        """What the function gave, recomputed where the model has since written over it."""
        if self._output._version == self._output_version:
            return self._output.detach()
        with torch.no_grad(), at_least(self._output.dtype):
            return self.function(*self.operands)

    def gradient(self, message: Tensor) -> Messages:
        """The ordinary gradient: the vector-Jacobian product with each carrying operand."""
        if self.vjp is not None:
            with torch.no_grad():
                parts = self.vjp(*self.operands, message=message)
            padded = (*parts, *(None,) * (len(self.operands) - len(parts)))
            return tuple(x if carries else None for x, carries in zip(padded, self.carries, strict=True))
        found = iter(torch.autograd.grad(self._output, self._carriers, message, retain_graph=True))
        return tuple(next(found) if carries else None for carries in self.carries)

"""Weights in a lower precision, converted once instead of in every pass.

Under ``torch.autocast`` each pass converts every fp32 weight anew: a third of what one photograph takes in a ViT-B in
bf16. A copy is kept for as long as its weight lives and is what it was.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_LARGEST = 4 * 2**30  # bytes of all copies together; beyond that the oldest goes


@dataclass(frozen=True)
class _Copy:
    converted: Tensor
    size: int
    version: int
    address: int
    sample: Tensor


class LoweredWeights:
    """Copies of weights in a lower precision.

    A copy is made anew when something was written into its weight, or another tensor was put in its place. torch
    doesn't count what is written through ``weight.data``: so a sample of the values, one at least of each row and
    each column, is compared each time. A change of few values through ``.data`` alone escapes it.

    Args:
        convert: makes the copy.
        largest: how many bytes all copies may take.

    Example:
        >>> weights, weight = LoweredWeights(Tensor.bfloat16), torch.nn.Parameter(torch.ones(2, 2))
        >>> weights.of(weight) is weights.of(weight)
        True
        >>> with torch.no_grad():
        ...     _ = weight.mul_(2)
        >>> weights.of(weight)
        tensor([[2., 2.],
                [2., 2.]], dtype=torch.bfloat16)
    """

    def __init__(self, convert: Callable[[Tensor], Tensor], largest: int = _LARGEST) -> None:
        self._convert, self._largest = convert, largest
        self._copies: Any = WeakIdKeyDictionary()
        self._guard = threading.Lock()

    def of(self, weight: Float[Tensor, "outputs inputs"]) -> Tensor:
        """The copy of a weight as it is now."""
        if weight.is_inference() or not weight.is_contiguous():  # it has no version, or no sample
            return self._converted(weight)
        version, address, sample = weight._version, weight.data_ptr(), _sample(weight)
        with self._guard:
            known = self._copies.get(weight)
        if (
            known is not None
            and (known.version, known.address) == (version, address)
            and torch.equal(known.sample, sample)
        ):
            copy: Tensor = known.converted
            return copy
        made = self._converted(weight)
        size = 2 * weight.numel()
        with self._guard:
            self._copies[weight] = _Copy(made, size, version, address, sample.clone())
            held = list(self._copies.items())
            total = sum(copy.size for _, copy in held)
            for oldest, copy in held:
                if total <= self._largest:
                    break
                del self._copies[oldest]
                total -= copy.size
        return made

    def __len__(self) -> int:
        return len(self._copies)

    def _converted(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            return self._convert(weight.detach())


def _sample(weight: Tensor) -> Tensor:
    """A value of each row and each column at least, and not many more."""
    rows, columns = weight.shape
    steps = range(min(rows, columns), 1, -1)
    step = next((step for step in steps if math.gcd(step, columns) == 1), 1)
    return weight.detach().view(-1)[::step]

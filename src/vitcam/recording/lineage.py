"""Which function of which tensors every tensor of a forward pass was made by."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, eq=False)
class Origin:
    """How a tensor was made.

    Attributes:
        function: the name of the function that made it; "" for what was there before, such as a weight or the images.
        parents: the origins of the tensors that it was made from.
        shape: of the tensor.
        time: the number of the call that made it.
    """

    function: str
    parents: tuple[Origin, ...]
    shape: tuple[int, ...]
    time: int


@dataclass
class _Held:
    tensor: weakref.ref[Tensor]
    origin: Origin


@dataclass
class _Memory:
    held: dict[int, _Held] = field(default_factory=dict)
    time: int = 0


class Lineage(TorchFunctionMode):
    """Inside the ``with``, notes how each tensor of the current thread is made. Keeps none of them alive.

    What runs inside a function that torch takes for one (multi-head attention, an ``autograd.Function``) isn't seen.

    Example:
        >>> with Lineage() as lineage:
        ...     logits = model(images)
        >>> lineage.of(logits).function
        'linear'
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory = _Memory()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        given = list(tensors_in((*args, *keywords.values())))
        result = function(*args, **keywords)
        name = getattr(function, "__name__", "")
        for made in tensors_in((result,)):
            if not any(made is tensor for tensor in given) or name.endswith("_"):
                self._note(made, name, given)
        return result

    def of(self, tensor: Tensor) -> Origin:
        """The origin of a tensor."""
        held = self._memory.held.get(id(tensor))
        if held is not None and held.tensor() is tensor:
            return held.origin
        return Origin("", (), tuple(tensor.shape), 0)

    def _note(self, made: Tensor, function: str, given: Sequence[Tensor]) -> None:
        memory, place = self._memory, id(made)
        memory.time += 1
        parents = tuple(self.of(tensor) for tensor in given)
        origin = Origin(function, parents, tuple(made.shape), memory.time)
        memory.held[place] = _Held(weakref.ref(made), origin)


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among some values, and in lists and mappings among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())

"""Further arguments of a model besides the images, handed to every pass that is made of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitcam.errors import ModelError

_bindings = threading.local()
_CONTENT = 100_000  # elements of a tensor of whole numbers whose values are looked at


@dataclass(frozen=True)
class Inputs:
    """What a model is given besides the images.

    Attributes:
        image: the name of the argument that the images are; None: the first.
        per_image: tensors and lists with one row per image.
        shared: anything else, passed as it is.
        copied: whether each pass gets a copy of the images, since the model writes into them.
        axes: which of the axes (batch, channels, and those of space) the model takes first, second, …; () if it
            takes them as they are. One that it doesn't take has a single value.

    Example:
        >>> inputs = Inputs(per_image={"age": torch.tensor([3.0, 40.0])}, shared={"scale": 2})
        >>> inputs.of(1, 1).rows(3)["age"]  # of copies of the second image
        tensor([40., 40., 40.])
    """

    image: str | None = None
    per_image: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    copied: bool = False
    axes: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.per_image or self.shared or self.image or self.copied or self.axes)

    def of(self, start: int, count: int) -> Inputs:
        """Those of some of the images."""
        stop = start + count
        return replace(self, per_image={name: value[start:stop] for name, value in self.per_image.items()})

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with every tensor changed, on another device, say."""

        def changed(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: change(v) if isinstance(v, Tensor) else v for name, v in values.items()}

        return replace(self, per_image=changed(self.per_image), shared=changed(self.shared))

    def to_dtype(self, dtype: torch.dtype) -> Inputs:
        """The same with tensors of real numbers in a precision."""
        return self.mapped(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def rows(self, count: int) -> dict[str, Any]:
        """The arguments for a number of images: those that they are of, or copies of a single one.

        Raises:
            ModelError: it is another number of several images, whose order isn't known.
        """
        arguments = dict(self.shared)
        for name, value in self.per_image.items():
            if len(value) == count:
                arguments[name] = value
            elif len(value) == 1:
                arguments[name] = (
                    value.repeat(count, *[1] * (value.dim() - 1))
                    if isinstance(value, Tensor)
                    else value * count
                )
            else:
                raise ModelError(
                    f"the input {name!r} has rows for {len(value)} images, and the model was given {count}: which "
                    "belongs to which can't be known. Explain images one by one (batch_size=1)"
                )
        return arguments

    @property
    def key(self) -> tuple[Any, ...]:
        """What the structure of a model may depend on: names, kinds, shapes and plain values, not single images."""
        per_image = [(name, _kind(value, content=False)) for name, value in self.per_image.items()]
        shared = [(name, _kind(value, content=True)) for name, value in self.shared.items()]
        return (
            self.image,
            self.axes,
            *sorted(per_image, key=lambda pair: pair[0]),
            None,
            *sorted(shared, key=lambda p: p[0]),
        )


NO_INPUTS = Inputs()


def _kind(value: Any, *, content: bool) -> Any:
    if isinstance(value, Tensor):
        shape = tuple(value.shape if content else value.shape[1:])
        whole = content and not value.is_floating_point() and value.numel() <= _CONTENT
        return (shape, value.dtype, value.device, tuple(value.flatten().tolist()) if whole else None)
    if isinstance(value, list | tuple):
        if not content:
            return type(value)
        return (type(value), *(_kind(one, content=True) for one in value))
    if isinstance(value, bool | int | float | str | torch.dtype | None):
        return (type(value), value)
    return object()  # like nothing else: what isn't known is measured anew


class _Hook:
    """Adds the arguments to the calls of a model that are made in one thread, innermost binding alone."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self.model, self.inputs = model, inputs

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        innermost = next((hook for hook in reversed(_stack()) if hook.model is module), None)
        if innermost is not self or not args:
            return None
        if self.inputs.copied:
            args = (args[0].clone(), *args[1:])
        more = {**self.inputs.rows(len(args[0])), **kwargs}
        if self.inputs.axes:
            args = (arranged(args[0], self.inputs.axes), *args[1:])
        if self.inputs.image is None:
            return args, more
        return (), {self.inputs.image: args[0], **more}


def arranged(images: Tensor, axes: Sequence[int]) -> Tensor:
    """Images with their axes as a model takes them; an axis that it doesn't take is left out.

    Example:
        >>> arranged(torch.zeros(2, 1, 128, 1024), (0, 3, 2)).shape
        torch.Size([2, 1024, 128])
    """
    left_out = [axis for axis in range(images.dim()) if axis not in axes]
    kept = [axis for axis in range(images.dim()) if axis in axes]
    for axis in reversed(left_out):
        images = images.squeeze(axis)
    return images.permute([kept.index(axis) for axis in axes])


def is_binding(hook: object) -> bool:
    """Whether a module's hook is one of ours, that says nothing about the model."""
    return isinstance(hook, _Hook)


@contextlib.contextmanager
def bound(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Inside the ``with`` this thread's calls ``model(images)`` are given the inputs, too; of several the innermost.

    Example:
        >>> with bound(model, Inputs()):
        ...     logits = model(images)
    """
    if not inputs:
        yield
        return
    hook = _Hook(model, inputs)
    _stack().append(hook)
    handle = model.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()
        _stack().remove(hook)


def _stack() -> list[_Hook]:
    if not hasattr(_bindings, "hooks"):
        _bindings.hooks = []
    stack: list[_Hook] = _bindings.hooks
    return stack

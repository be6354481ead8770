"""What was found out about a model is remembered for as long as nothing changes that may change its structure."""

from __future__ import annotations

import enum
import itertools
import types
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from vitcam.recording.binding import Inputs, is_binding

Value = TypeVar("Value")
_REMEMBERED = 32  # states, inputs and kinds of images of one model

_PLAIN = frozenset({int, float, str, bool, bytes, complex, type(None), torch.dtype, torch.device, torch.Size})
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_HOOKS = frozenset({"_forward_hooks", "_forward_pre_hooks"})
_OTHER_HOOKS = frozenset(name for name in vars(nn.Module()) if "hooks" in name) - _HOOKS
# What is gone through otherwise, or says nothing about the structure. Names of labels are many.
_LEFT_OUT = _OTHER_HOOKS | {"training", "_modules", "_non_persistent_buffers_set", "id2label", "label2id"}
_DEPTH, _LENGTH, _VALUES = 4, 1024, 4096  # how far things inside things are looked at, how much of each

_numbers: Any = WeakIdKeyDictionary()
_next = itertools.count()


class Memory(Generic[Value]):
    """Remembers a value for each model, in the state in which it is, with images and inputs of the same kind.

    Example:
        >>> memory, model = Memory(), nn.Linear(2, 2)
        >>> images, inputs = torch.rand(8, 3, 4, 4), Inputs()
        >>> memory.of(model, images, inputs).keep("small")
        >>> memory.of(model, images[:1], inputs).value
        'small'
        >>> memory.of(model, images[..., :2], inputs).value is None
        True
    """

    def __init__(self) -> None:
        self._models: WeakKeyDictionary[nn.Module, dict[Any, Value]] = WeakKeyDictionary()

    def of(self, model: nn.Module, images: Tensor, inputs: Inputs, *settings: Any) -> Remembered[Value]:
        """What is remembered of a model as it is now; of any further settings, too, that it depends on."""
        key = (images.shape[1:], images.device, images.dtype, settings, state_of(model), inputs.key)
        return Remembered(self._models.setdefault(model, {}), key)


class Remembered(Generic[Value]):
    """One value of a :class:`Memory`.

    Attributes:
        value: None if there is none yet.
    """

    def __init__(self, values: dict[Any, Value], key: Any) -> None:
        self._values, self._key = values, key
        self.value = values.get(key)

    def keep(self, value: Value) -> None:
        """Remembers a value, in the place of the oldest if there are many."""
        while len(self._values) >= _REMEMBERED:
            self._values.pop(next(iter(self._values)))
        self._values[self._key] = self.value = value


def state_of(model: nn.Module) -> int:
    """A number that changes with what may change a model's structure: its modules, and values of theirs.

    Of a module they are its attributes and its class's: plain values, those in lists, dictionaries and other objects,
    the buffers, tensors of whole numbers, and what is callable. Values of weights, and of tensors that a forward pass
    may have left behind, aren't among them.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = state_of(layer)
        >>> layer.pooling = "avg"
        >>> state_of(layer) == before
        False
    """
    return hash(tuple(_State().of_modules(model.modules())))


class _State:
    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # by what is seen once; the things themselves keep their numbers

    def of_modules(self, modules: Iterable[nn.Module]) -> Iterator[Any]:
        for module in modules:
            self._seen[id(module)] = module
            yield id(module)
            yield from self._of_class(type(module))
            for name, value in vars(module).items():
                if type(value) in _PLAIN:
                    if name != "training":
                        yield name, value
                elif name == "_parameters":
                    yield from ((id(each), each.shape) for each in value.values() if each is not None)
                elif name in _HOOKS:
                    yield from (id(hook) for hook in value.values() if not is_binding(hook))
                elif name == "_buffers":
                    yield from (_written(each) for each in value.values() if each is not None)
                elif name not in _LEFT_OUT and (type(value) is not dict or value):
                    yield name, self._of(value, 0)

    def _of_class(self, kind: type) -> Iterator[Any]:
        """What a class and those it is made of say, torch's own aside."""
        for each in kind.__mro__:
            if id(each) in self._seen or each.__module__.startswith("torch."):
                continue
            self._seen[id(each)] = each
            for name, value in vars(each).items():
                yield name, value if type(value) in _PLAIN else id(value)
                if getattr(value, "__closure__", None):
                    yield from self._of_function(value)

    def _of_function(self, function: Any) -> Iterator[Any]:
        """The plain values that a function holds on to."""
        for cell in getattr(function, "__closure__", None) or ():
            try:
                held = cell.cell_contents
            except ValueError:  # it is yet to be filled
                continue
            yield held if type(held) in _PLAIN else id(held)

    def _of(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, Tensor):  # of real numbers: attention maps, say, that each pass leaves there
            whole = not value.is_floating_point() and value.numel() <= _VALUES and not value.is_meta
            return tuple(value.flatten().tolist()) if whole else None
        if id(value) in self._seen:
            return id(value)
        self._seen[id(value)] = value
        if depth >= _DEPTH or len(self._seen) > 10 * _LENGTH or isinstance(value, type | types.ModuleType):
            return id(value)
        if isinstance(value, enum.Enum):
            return kind, value.name
        if isinstance(value, list | tuple | set | frozenset):
            return kind, len(value), tuple(self._of(each, depth + 1) for each in islice(value, _LENGTH))
        if isinstance(value, Mapping):
            pairs = islice(value.items(), _LENGTH)
            return kind, tuple((str(k), self._of(each, depth + 1)) for k, each in pairs if k not in _LEFT_OUT)
        if isinstance(value, nn.Module):
            return tuple(self.of_modules(value.modules()))
        if isinstance(value, _FUNCTIONS):
            return _number(value), tuple(self._of_function(value))
        held = islice(getattr(value, "__dict__", {}).items(), _LENGTH)
        inside = tuple((k, self._of(each, depth + 1)) for k, each in held if k not in _LEFT_OUT)
        return _number(value), inside


def _written(tensor: Tensor) -> Any:
    """A number that changes when another tensor takes its place, or something is written into it."""
    return _number(tensor), tuple(tensor.shape), 0 if tensor.is_inference() else tensor._version


def _number(thing: Any) -> int:
    """A number that no other thing has, nor will have in the place of this one, which an ``id`` may."""
    try:
        if thing not in _numbers:
            _numbers[thing] = next(_next)
        number: int = _numbers[thing]
    except TypeError:  # a thing that can't be referred to weakly
        return id(thing)
    return number

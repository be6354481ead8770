"""Puts a model into the state in which it is explained, and surely back into its own."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

_guard = threading.RLock()
_locks: Any = WeakIdKeyDictionary()
_numbers = itertools.count()


@contextlib.contextmanager
def preserved(model: nn.Module, *, fused: bool = True, compile: bool = False) -> Iterator[None]:
    """Inside the ``with``: evaluation mode, no parameter requires a gradient, attention is fused.

    Nothing is compiled, and no activation is recomputed in the backward pass. Afterwards, also after an exception,
    every module's mode, every parameter's ``requires_grad`` and every switch is what it was. Threads that
    explain one model, or models that share modules, take turns.

    Args:
        model: the model.
        fused: False leaves the switches between fused and written-out attention as they are.
        compile: whether the caller compiles parts of the model itself.

    Example:
        >>> model = torch.nn.Linear(2, 2).train()
        >>> with preserved(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    with alone_with(model), undoing() as undo:
        for module in model.modules():
            if module.training:
                undo(partial(setattr, module, "training", True))
                module.training = False
        for parameter in model.parameters():
            if parameter.requires_grad:
                undo(partial(parameter.requires_grad_, True))
                parameter.requires_grad_(False)
        switches = attention_switches(model) if fused else []
        for owner, name, value in (*switches, *_checkpointing_switches(model)):
            undo(partial(setattr, owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        undo(_without_checkpoints.leave)
        _without_checkpoints.enter()
        if "torch._dynamo" in sys.modules and (not compile or any(map(_is_compiled, model.modules()))):
            undo(_without_compiler.leave)
            _without_compiler.enter()
        yield


@contextlib.contextmanager
def undoing() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Gives a function that takes a step to be done at the end of the ``with``, the last one first.

    Each is done, whatever is raised in between: an interrupt in the middle of it is raised when all are done. So a
    step must be one that can be done twice. It is given before what it undoes is done.
    """
    steps: list[Callable[[], Any]] = []
    try:
        yield steps.append
    finally:
        interrupted: BaseException | None = None
        while steps:
            step = steps[-1]
            for _ in range(3):
                try:
                    step()
                    break
                except BaseException as error:
                    interrupted = interrupted or error
            del steps[-1]
        if interrupted is not None:
            raise interrupted


@contextlib.contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Lets a module run another forward inside the ``with``, in this thread only."""
    here, own, held = threading.get_ident(), module.forward, vars(module)

    def either(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs) if threading.get_ident() == here else own(*args, **kwargs)

    # What an instance holds stands in front of its class's method; some libraries put a forward there.
    with undoing() as undo:
        undo(
            partial(held.__setitem__, "forward", own)
            if "forward" in held
            else partial(held.pop, "forward", None)
        )
        held["forward"] = either
        yield


@contextlib.contextmanager
def alone_with(model: nn.Module) -> Iterator[None]:
    """Waits until no other thread explains a model that shares a module with this one."""
    owners = [module for module in model.modules() if module._parameters] or [model]
    with _guard:
        locks = []
        for owner in owners:
            if owner not in _locks:
                _locks[owner] = (next(_numbers), threading.RLock())
            locks.append(_locks[owner])
    with contextlib.ExitStack() as held:
        for _, lock in sorted(
            locks, key=lambda pair: pair[0]
        ):  # one order for all: no two wait for each other
            held.enter_context(lock)
        yield


class _Counted:
    """Something that holds for the whole process while any thread is inside; threads count separately.

    Args:
        begin: begins it, and returns what ends it.
    """

    def __init__(self, begin: Callable[[], Callable[[], None]]) -> None:
        self._begin = begin
        self._inside: dict[int, int] = {}
        self._end: Callable[[], None] | None = None

    def enter(self) -> None:
        """Counts this thread in."""
        me = threading.get_ident()
        with _guard:
            if not self._inside:
                self._end = self._begin()
            self._inside[me] = self._inside.get(me, 0) + 1

    def leave(self) -> None:
        """Counts this thread out; the last one ends it."""
        me = threading.get_ident()
        with _guard:
            if me not in self._inside:
                return
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
            if not self._inside and self._end is not None:
                self._end()
                self._end = None

    def here(self) -> bool:
        """Whether this thread is inside."""
        return threading.get_ident() in self._inside


def _no_checkpoints() -> Callable[[], None]:
    """Lets ``torch.utils.checkpoint`` run what it is given, without recomputing it, in threads that are inside."""
    names = ("_checkpoint_without_reentrant_generator_impl", "_checkpoint_without_reentrant_generator")
    by_name = next(name for name in names if hasattr(checkpointing, name))  # by torch's version
    generator = getattr(checkpointing, by_name)
    function: Any = checkpointing.CheckpointFunction
    apply = function.apply

    def plain_generator(fn: Any, *args: Any, **kwargs: Any) -> Any:
        return (None for _ in range(1)) if _without_checkpoints.here() else generator(fn, *args, **kwargs)

    def plain_apply(run: Any, preserve: Any, *args: Any) -> Any:
        return run(*args) if _without_checkpoints.here() else apply(run, preserve, *args)

    setattr(checkpointing, by_name, plain_generator)
    function.apply = staticmethod(plain_apply)

    def end() -> None:
        setattr(checkpointing, by_name, generator)
        del function.apply  # what it inherits

    return end


def _no_compiler() -> Callable[[], None]:
    """Lets compiled functions run as they were written. torch knows one stance for all threads."""
    stance = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return lambda: stance.__exit__(None, None, None)


_without_checkpoints = _Counted(_no_checkpoints)
_without_compiler = _Counted(_no_compiler)


def attention_switches(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """What must be set so that the model calls ``scaled_dot_product_attention``: (owner, attribute, value).

    timm's layers carry ``fused_attn``; Hugging Face's carry a config with ``_attn_implementation``.
    """
    switches: dict[int, tuple[Any, str, Any]] = {}
    for module in model.modules():
        if _held(module, "fused_attn") is False:
            switches[id(module)] = (module, "fused_attn", True)
        config = _held(module, "config")
        implementation = getattr(config, "_attn_implementation", None)
        if isinstance(implementation, str) and implementation != "sdpa" and _has_sdpa(model):
            switches[id(config)] = (config, "_attn_implementation", "sdpa")
    return list(switches.values())


def _checkpointing_switches(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """timm's ``grad_checkpointing``, which also holds in evaluation, and Hugging Face's."""
    names = ("grad_checkpointing", "gradient_checkpointing")
    return [(m, name, False) for m in model.modules() for name in names if _held(m, name) is True]


def _held(module: nn.Module, name: str) -> Any:
    """An attribute of a module or of its class, or None, which ``getattr`` would take its time to say."""
    if name in vars(module) or hasattr(type(module), name):
        return getattr(module, name, None)
    return None


def _is_compiled(module: nn.Module) -> bool:
    """Whether by ``torch.compile(module)``, which wraps it, or by ``module.compile()``."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _has_sdpa(model: nn.Module) -> bool:
    return all(getattr(module, "_supports_sdpa", True) for module in model.modules())

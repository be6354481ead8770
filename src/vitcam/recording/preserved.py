"""Puts a model into the state in which it is explained, and surely back into its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_locks_guard = threading.Lock()


@contextlib.contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Inside the ``with``: evaluation mode, no parameter requires a gradient, attention is fused.

    Nothing is compiled, and no activation is recomputed in the backward pass. Afterwards, also after an exception,
    every module's mode, every parameter's ``requires_grad`` and every switch is what it was. Two threads that
    explain one model take turns.

    Example:
        >>> model = torch.nn.Linear(2, 2).train()
        >>> with preserved(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    with _locks_guard:
        lock = _locks.setdefault(model, threading.RLock())
    with lock, contextlib.ExitStack() as undo:
        for module in model.modules():
            if module.training:
                undo.callback(setattr, module, "training", True)
                module.training = False
        for parameter in model.parameters():
            if parameter.requires_grad:
                undo.callback(parameter.requires_grad_, True)
                parameter.requires_grad_(False)
        for owner, name, value in (*_attention_switches(model), *_checkpointing_switches(model)):
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        if any(map(_is_compiled, model.modules())):
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _attention_switches(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """What must be set so that the model calls ``scaled_dot_product_attention``: (owner, attribute, value).

    timm's layers carry ``fused_attn``; Hugging Face's carry a config with ``_attn_implementation``.
    """
    switches: dict[int, tuple[Any, str, Any]] = {}
    for module in model.modules():
        if getattr(module, "fused_attn", None) is False:
            switches[id(module)] = (module, "fused_attn", True)
        config = getattr(module, "config", None)
        implementation = getattr(config, "_attn_implementation", None)
        if isinstance(implementation, str) and implementation != "sdpa" and _has_sdpa(model):
            switches[id(config)] = (config, "_attn_implementation", "sdpa")
    return list(switches.values())


def _checkpointing_switches(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """timm's ``grad_checkpointing``, which also holds in evaluation, and Hugging Face's."""
    names = ("grad_checkpointing", "gradient_checkpointing")
    return [(m, name, False) for m in model.modules() for name in names if getattr(m, name, None) is True]


def _is_compiled(module: nn.Module) -> bool:
    """Whether by ``torch.compile(module)``, which wraps it, or by ``module.compile()``."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _has_sdpa(model: nn.Module) -> bool:
    return all(getattr(module, "_supports_sdpa", True) for module in model.modules())

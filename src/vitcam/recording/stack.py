"""Which modules of a model are being called right now."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def module_stack(model: nn.Module, names: Collection[str] | None = None) -> Iterator[list[str]]:
    """A list that always holds the names of the modules being called, outermost first.

    Args:
        model: the model; its modules are hooked for the duration of the ``with``.
        names: the modules to follow; all of them if None, which is only worth its price once per model.

    Example:
        >>> from vitcam.recording.interception import intercept
        >>> with module_stack(model) as stack, intercept(lambda call: print(stack) or call.run()):
        ...     logits = model(images)
        ['', 'blocks', 'blocks.0', 'blocks.0.attn']
        ['', 'blocks', 'blocks.1', 'blocks.1.attn']
        ...
    """
    stack: list[str] = []
    here = threading.get_ident()  # hooks are seen by every thread that runs the model

    def enter(name: str) -> Any:
        return lambda module, args: stack.append(name) if threading.get_ident() == here else None

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == here:
            stack.pop()

    with contextlib.ExitStack() as undo:
        for name, module in model.named_modules():
            if names is not None and name not in names:
                continue
            undo.callback(module.register_forward_pre_hook(enter(name), prepend=True).remove)
            undo.callback(module.register_forward_hook(leave).remove)
        yield stack

"""The modules of a model: which are being called, which are its blocks, what goes into them and comes out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "batch tokens features"]


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


def find_blocks(model: nn.Module, stack: list[str]) -> tuple[str, ...]:
    """The names of the transformer blocks, given the modules on the stack of the first attention call.

    The first block is the outermost module on the stack that is one of several children of the same class
    in a ``ModuleList`` or ``Sequential``; those children are the blocks. () if there is no such module.
    """
    for name in stack:
        if not name:
            continue
        parent = name.rpartition(".")[0]
        container = model.get_submodule(parent)
        if not isinstance(container, nn.ModuleList | nn.Sequential):
            continue
        kind = type(model.get_submodule(name))
        siblings = [child for child, module in container.named_children() if type(module) is kind]
        if len(siblings) > 1:
            return tuple(f"{parent}.{child}" if parent else child for child in siblings)
    return ()


def norms_of(block: nn.Module) -> dict[str, nn.Module]:
    """The normalisation layers in a block, by their paths in it."""
    return {
        path: module
        for path, module in block.named_modules()
        # A spectral or weight norm normalises weights: it is no layer.
        if "norm" in type(module).__name__.lower() and "parametrizations" not in path.split(".")
    }


@contextlib.contextmanager
def block_input(
    model: nn.Module,
    block: str | None,
    batch: int,
    tokens: int,
    change: Callable[[Tokens], Tokens],
    *,
    tokens_first: bool = False,
) -> Iterator[None]:
    """Lets ``change`` see, and replace, the tokens that go into a block, for the duration of the ``with``.

    Args:
        model: the model.
        block: the name of the block; None leaves the model alone.
        batch, tokens: the size by which the token tensor is told from other arguments.
        change: gets the tokens as (batch, tokens, channels), returns what the block gets in their stead.
            Models that lay them out as (tokens, batch, channels) are dealt with here.
        tokens_first: whether the model does so, which their size doesn't tell where there are as many images.
    """

    here = threading.get_ident()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != here:
            return None
        new_args, new_kwargs = list(args), dict(kwargs)
        holders: list[tuple[Any, Any]] = [(new_args, i) for i in range(len(args))]
        holders += [(new_kwargs, key) for key in kwargs]
        for holder, key in holders:
            value = holder[key]
            if not isinstance(value, Tensor) or value.dim() != 3:
                continue
            if value.shape[:2] == (batch, tokens) and not (tokens_first and batch == tokens):
                holder[key] = change(value)
                return tuple(new_args), new_kwargs
            if value.shape[:2] == (tokens, batch):
                holder[key] = change(value.transpose(0, 1)).transpose(0, 1)
                return tuple(new_args), new_kwargs
        return None

    if block is None:
        yield
        return
    handle = model.get_submodule(block).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def recorded_input(
    model: nn.Module,
    block: str | None,
    batch: int,
    tokens: int,
    part: Callable[[Tokens], Tokens],
    *,
    tokens_first: bool = False,
) -> Iterator[list[Tokens]]:
    """A list with a part of the tokens that go into a block first, once it was called; see :func:`block_input`."""
    recorded: list[Tokens] = []

    def look(values: Tokens) -> Tokens:
        if not recorded:
            recorded.append(part(values).clone())
        return values

    with block_input(model, block, batch, tokens, look, tokens_first=tokens_first):
        yield recorded


@contextlib.contextmanager
def recorded_blocks(model: nn.Module, blocks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What each of some blocks returns, by the block's name, once it was called."""
    returned: dict[str, Any] = {}
    here = threading.get_ident()

    def keep(name: str) -> Any:
        return lambda module, args, output: (
            returned.update({name: output}) if threading.get_ident() == here else None
        )

    with contextlib.ExitStack() as undo:
        for name in blocks:
            undo.callback(model.get_submodule(name).register_forward_hook(keep(name)).remove)
        yield returned


@contextlib.contextmanager
def changed_arguments(
    model: nn.Module, blocks: Sequence[str], change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Lets ``change`` replace every tensor that blocks are given, in tuples and lists too, inside the ``with``."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        return type(value)(map(changed, value)) if type(value) in (tuple, list) else value

    here = threading.get_ident()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != here:
            return None
        return changed(args), {key: changed(value) for key, value in kwargs.items()}

    with contextlib.ExitStack() as undo:
        for name in blocks:
            undo.callback(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield

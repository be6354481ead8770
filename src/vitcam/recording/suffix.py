"""The end of a pass, from a recorded block's input on, with other tokens: what is before it isn't computed again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vitcam.errors import ModelError
from vitcam.recording.blocks import Tokens, block_input, norms_of, recorded_blocks, recorded_input
from vitcam.recording.layout import Image, Layout
from vitcam.recording.onednn import fast_linear
from vitcam.recording.preservation import replaced_forward

Change = Callable[[Float[Tensor, "1 tokens channels"]], Float[Tensor, "copies tokens channels"]]


@dataclass(frozen=True)
class Beginning:
    """A pass of one image as far as a block.

    Attributes:
        output: what the model gave in the end.
        returned: what each block before returned, by name.
        block: the name of the block.
        tokens: what went into it, (1, tokens, channels).
        norm: the name of the norm in it that reads these tokens, and nothing else; "" if there is none.
        normed: what that norm gave.
    """

    output: Any
    returned: dict[str, Any]
    block: str
    tokens: Tokens
    norm: str
    normed: Tokens | None


def beginning(model: nn.Module, image: Image, layout: Layout, block: int = -1) -> Beginning:
    """Runs a model on an image, and keeps what its end takes.

    Args:
        model: in the state in which it is recorded.
        image: one.
        layout: the model's structure.
        block: of the model's blocks, from whose input on it is to be resumed.

    Raises:
        ModelError: the model's blocks weren't recognised, or aren't given all of its tokens in one tensor.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> begun = beginning(model, images[:1], layout)
        >>> begun.block, begun.tokens.shape, begun.norm
        ('blocks.11', torch.Size([1, 197, 48]), 'blocks.11.norm1')
    """
    if layout.obstacle or not layout.blocks:
        raise ModelError(layout.obstacle or "its transformer blocks weren't recognised")
    block = range(len(layout.blocks))[block]
    name = layout.blocks[block]
    norms: list[tuple[str, Tensor, Tensor]] = []
    with (
        torch.no_grad(),
        fast_linear(),
        recorded_blocks(model, layout.blocks[:block]) as returned,
        recorded_input(
            model, name, 1, layout.tokens, lambda tokens: tokens, tokens_first=layout.tokens_first
        ) as entered,
        watched_norms(
            model, name, lambda path, given, output: norms.append((path, given.clone(), output.clone()))
        ),
    ):
        output = model(image)
    if not entered or len(returned) != block:
        raise ModelError("its last block isn't given all of its tokens in one tensor")
    tokens = entered[0]
    for path, given, normed in norms:
        if given.shape == normed.shape and torch.equal(_batch_first(given, layout), tokens):
            return Beginning(output, returned, name, tokens, path, _batch_first(normed, layout))
    return Beginning(output, returned, name, tokens, "", None)


def resumed_end(
    model: nn.Module, image: Image, layout: Layout, begun: Beginning, copies: int, change: Change
) -> Any:
    """The model's output for some copies of an image whose tokens are changed as they go into a block.

    The norm that reads the block's input doesn't read the change: what it gave is changed in the same way. So a norm
    can't undo that a token is scaled.

    Args:
        model, image, layout: as they were.
        begun: the pass as far as the block.
        copies: how many there are.
        change: from the block's tokens, and from those behind its norm, to those of each copy.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> begun = beginning(model, images[:1], layout)
        >>> scaled = lambda tokens: torch.cat([tokens, tokens / 2])
        >>> resumed_end(model, images[:1], layout, begun, 2, scaled).shape
        torch.Size([2, 1000])
    """

    def expanded(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() < 2:
            return value
        axis = 1 if layout.tokens_first and value.dim() == 3 else 0
        if value.shape[axis] != 1:
            return value
        return value.expand(*[copies if each == axis else -1 for each in range(value.dim())])

    def answer(name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: tree_map(expanded, begun.returned[name])

    def renorm(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if threading.get_ident() != here or begun.normed is None:
            return None
        changed = change(begun.normed)
        return changed.transpose(0, 1) if layout.tokens_first else changed

    here = threading.get_ident()
    with contextlib.ExitStack() as undo:
        for name in begun.returned:
            undo.enter_context(replaced_forward(model.get_submodule(name), answer(name)))
        if begun.norm:
            undo.callback(model.get_submodule(begun.norm).register_forward_hook(renorm).remove)
        undo.enter_context(
            block_input(
                model,
                begun.block,
                copies,
                layout.tokens,
                lambda _: change(begun.tokens),
                tokens_first=layout.tokens_first,
            )
        )
        return model(image.expand(copies, *image.shape[1:]))


def _batch_first(tokens: Tensor, layout: Layout) -> Tensor:
    return tokens.transpose(0, 1) if layout.tokens_first and tokens.dim() == 3 else tokens


@contextlib.contextmanager
def watched_norms(
    model: nn.Module, block: str, told: Callable[[str, Tensor, Tensor], None]
) -> Iterator[None]:
    """Tells of each norm that runs in a block: its name, what it was given and what it gave."""
    here = threading.get_ident()

    def hook(path: str) -> Any:
        def tell(module: nn.Module, args: Any, output: Any) -> None:
            is_plain = args and isinstance(args[0], Tensor) and isinstance(output, Tensor)
            if threading.get_ident() == here and is_plain:
                told(path, args[0], output)

        return tell

    with contextlib.ExitStack() as undo:
        for path, module in norms_of(model.get_submodule(block)).items():
            undo.callback(module.register_forward_hook(hook(f"{block}.{path}" if path else block)).remove)
        yield

"""What is found out about a model, once per input size, before it is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.blocks import find_blocks
from vitcam.recording.call import AttentionCall
from vitcam.recording.grid import find_grid
from vitcam.recording.interception import intercept
from vitcam.recording.places import checked_grid
from vitcam.recording.stack import module_stack
from vitcam.types import PatchGrid


@dataclass(frozen=True)
class Overrides:
    """What a user may give instead of letting it be found. None: find it.

    Attributes:
        grid: (rows, columns) of patches.
        prefix: the number of tokens in front of the first patch.
        first_block: the name of the first transformer block.

    Raises:
        ModelError: they aren't of these types.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> given = Overrides(grid=(14, 14), prefix=1)
        >>> record(model, images, score, Need.NOTHING, given=given).layout.grid
        PatchGrid(height=14, width=14, prefix=1)
    """

    grid: tuple[int, int] | None = None
    prefix: int | None = None
    first_block: str | None = None

    def __post_init__(self) -> None:
        sides = (1, 1) if self.grid is None else self.grid
        if not isinstance(sides, Sequence) or len(sides) != 2 or not all(isinstance(n, int) for n in sides):
            raise ModelError(f"grid must be two whole numbers, (rows, columns) of patches; got {self.grid!r}")
        if self.prefix is not None and not isinstance(self.prefix, int):
            raise ModelError(f"prefix must be a whole number of tokens; got {self.prefix!r}")


@dataclass(frozen=True)
class Layout:
    """The structure of a model at one input size.

    Attributes:
        grid: how the tokens lie over the image.
        tokens: the number of key tokens of the attention layers.
        blocks: the names of the transformer blocks; () if none were recognised.
        callers: the names of the modules that call attention, in the order of the calls.
        pooling: those of them that stand outside the blocks and pool the tokens for the head.
        obstacle: why this is no plain ViT, whose layers all attend over the same tokens; "" if it is one.
        written_out: whether the model writes its attention out and never calls torch's function for it.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> layout.grid, layout.tokens, layout.blocks[0]
        (PatchGrid(height=14, width=14, prefix=1), 197, 'blocks.0')
    """

    grid: PatchGrid
    tokens: int
    blocks: tuple[str, ...]
    callers: tuple[str, ...]
    pooling: frozenset[str]
    obstacle: str
    written_out: bool


@dataclass(frozen=True)
class _Seen:
    stack: tuple[str, ...]
    batch: int
    queries: int
    keys: int


def find_layout(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], given: Overrides
) -> Layout:
    """Runs the model once, and its beginning once more, to find its structure.

    Raises:
        ModelError: the model calls no attention, or its tokens don't fit a patch grid.
    """
    seen, convolutions = _observed(model, images, written_out=False)
    written_out = not seen
    if written_out:
        seen, convolutions = _observed(model, images, written_out=True)
    if not seen:
        raise ModelError(
            f"no attention was seen: {type(model).__name__} never called torch's scaled_dot_product_attention, nor "
            "was a softmax multiplied with values. vitcam explains Vision Transformers. If this is one, let it "
            "call torch.nn.functional.scaled_dot_product_attention (timm: fused_attn=True; Hugging Face: "
            "attn_implementation='sdpa')"
        )
    blocks = _blocks(model, seen[0].stack, given.first_block)
    callers = tuple(call.stack[-1] if call.stack else "" for call in seen)
    inside = [_is_inside(call.stack, blocks) for call in seen]
    size = (images.shape[-2], images.shape[-1])
    # An attention behind all blocks, which pools the tokens for the head, may see some of them only.
    pools = bool(blocks) and not inside[-1] and len(seen) > 1 and all(inside[:-1])
    obstacle = _obstacle(
        seen[:-1] if pools else seen, images.shape[0], inside if blocks else [True] * len(seen)
    )
    tokens = seen[-1].keys * seen[-1].batch // images.shape[0] if obstacle else seen[0].keys
    grid = find_grid(tokens, [] if obstacle else convolutions, size, grid=given.grid, prefix=given.prefix)
    if not obstacle and blocks and given.prefix is None:
        grid = checked_grid(model, images[:1], blocks[0], tokens, grid)
    if not obstacle and pools and seen[-1].keys not in (tokens, grid.tokens):
        obstacle = f"the attention that pools its {tokens} tokens sees {seen[-1].keys} of them"
    pooling = frozenset(name for name, within in zip(callers, inside, strict=True) if blocks and not within)
    return Layout(grid, tokens, blocks, callers, pooling, obstacle, written_out)


def _observed(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], *, written_out: bool
) -> tuple[list[_Seen], list[tuple[int, int]]]:
    """The attention calls of a forward pass, and the sizes of the convolutions' outputs in front of the first."""
    seen: list[_Seen] = []
    convolutions: list[tuple[int, int]] = []

    with module_stack(model) as stack:

        def attend(call: AttentionCall) -> Tensor:
            # Leading dimensions besides batch and heads are windows.
            windows = call.query.shape[:-3].numel() if call.query.dim() > 3 else images.shape[0]
            if call.query.dim() > 4:
                windows = windows * call.query.shape[-3] // call.query.shape[1]
            seen.append(_Seen(tuple(stack), windows, call.query.shape[-2], call.key.shape[-2]))
            return call.run()

        def on_conv2d(result: Tensor) -> None:
            if not seen and result.dim() == 4:
                convolutions.append((result.shape[-2], result.shape[-1]))

        try:
            with torch.no_grad(), intercept(attend, on_conv2d, written_out=written_out):
                model(images)
        except Exception as error:
            # Whatever a model raises on input that it isn't made for, its user needs to know the input.
            raise ModelError(
                f"{type(model).__name__} itself failed on images of shape {tuple(images.shape[1:])} "
                f"({images.dtype}): {error or type(error).__name__}. Give it images of the size and channels "
                "that it was built for"
            ) from error

    return seen, convolutions


def _blocks(model: nn.Module, stack: tuple[str, ...], first_block: str | None) -> tuple[str, ...]:
    if first_block is None:
        return find_blocks(model, list(stack))
    if first_block not in stack:
        raise ModelError(
            f"first_block={first_block!r} doesn't contain the first attention call, which was made inside "
            f"{' > '.join(name for name in stack if name)}"
        )
    return find_blocks(model, [first_block]) or (first_block,)


def _is_inside(stack: tuple[str, ...], blocks: tuple[str, ...]) -> bool:
    return any(name in blocks for name in stack)


def _obstacle(seen: list[_Seen], batch: int, inside: list[bool]) -> str:
    """Why the layers don't all attend over the same tokens: stages, windows, reduced keys; or ""."""
    sizes = list(dict.fromkeys(call.keys * call.batch // batch for call in seen))
    if len(sizes) > 1:
        return f"its attention layers see different numbers of tokens ({', '.join(map(str, sizes))})"
    if any(call.batch != batch for call in seen):
        return "its attention layers attend within windows"
    # An attention that pools the tokens for the head may have any number of queries.
    if any(call.queries > call.keys for call, within in zip(seen, inside, strict=False) if within):
        return "its attention layers have fewer keys than queries"
    return ""

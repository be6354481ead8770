"""Passes that are altered inside: tokens are left out, or hidden from attention.

What is left out in front of the first block is no longer computed, so that the cost falls. What is hidden stays, and
no other token attends to it. For tokens that stay both must come to the same, which is how they prove themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError, VitcamError, is_out_of_memory
from vitcam.recording.attention import AttentionCall, with_head_dimension
from vitcam.recording.binding import NO_INPUTS, Inputs
from vitcam.recording.blocks import Tokens, block_input, changed_arguments
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Image, Layout, some_cells
from vitcam.recording.onednn import fast_attention
from vitcam.recording.state import Memory

_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)  # of a shape that doesn't fit


def tokens_of(layout: Layout, patches: Bool[Tensor, "batch patches"]) -> Bool[Tensor, "batch tokens"]:
    """From which patches are kept to which tokens are: those of no place always are.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> tokens_of(layout, torch.zeros(1, 196, dtype=torch.bool)).sum()
        tensor(1)
    """
    tokens = patches.new_ones(len(patches), layout.tokens)
    tokens[:, layout.grid.patches] = patches
    return tokens


@contextlib.contextmanager
def kept_tokens(
    model: nn.Module,
    block: str,
    kept: Int[Tensor, "batch kept"],
    tokens: int,
    *,
    tokens_first: bool = False,
    instead: str = "",
) -> Iterator[None]:
    """Inside the ``with`` a pass of the model goes on, from a block's input, with some of its tokens only.

    Args:
        model: the model.
        block: the name of the block; "" if ``model`` is that block.
        kept: which tokens of each image, in ascending order.
        tokens: how many there are.
        tokens_first: whether they are laid out as (tokens, batch, channels).
        instead: what to do if it needs the whole grid of patches, for the message.

    Raises:
        ModelError: it doesn't, or no tensor of that many tokens comes to the block.

    Example:
        >>> kept = torch.arange(50).expand(8, -1)
        >>> with kept_tokens(model, "blocks.0", kept, 197):
        ...     model(images).shape
        torch.Size([8, 1000])
    """
    met: list[torch.Size] = []

    def keep(values: Float[Tensor, "batch tokens features"]) -> Float[Tensor, "batch _kept features"]:
        met.append(values.shape)
        return values.gather(1, kept.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

    batch = len(kept)
    with block_input(model, block, batch, tokens, keep, tokens_first=tokens_first):
        try:
            yield
        except _FAILURES as error:
            if isinstance(error, VitcamError) or is_out_of_memory(error):
                raise
            advice = (
                f"\nIf it needs the whole grid of patches (rotary embeddings, relative positions), {instead}"
            )
            raise ModelError(
                f"the model failed with {kept.shape[1]} of its {tokens} tokens: {error}{advice if instead else ''}"
            ) from error
    if not met:
        raise ModelError(
            f"no tensor of {batch}×{tokens} tokens came to the {type(model.get_submodule(block)).__name__} given as "
            "the first block: give the first transformer block, and the grid of this image size"
        )


def kept_arguments(
    model: nn.Module, layout: Layout, kept: Int[Tensor, "batch kept"]
) -> contextlib.AbstractContextManager[None]:
    """Cuts tables with a row per token or patch that the blocks are given, of a rotary embedding, to what is kept.

    A table (rows, dim) becomes one of each image, (batch, 1, rows, dim), as heads broadcast over it.
    """
    grid = layout.grid
    rows = {layout.tokens: kept}
    if not grid.order and grid.prefix + grid.tokens == layout.tokens:
        rows[grid.tokens] = kept[:, grid.prefix :] - grid.prefix

    def cut(value: Tensor) -> Tensor:
        is_table = value.dim() == 2 and value.shape[0] in rows and value.shape[0] != value.shape[1]
        return value[rows[value.shape[0]]].unsqueeze(1) if is_table else value

    return changed_arguments(model, layout.blocks, cut)


@contextlib.contextmanager
def without_tokens(model: nn.Module, layout: Layout, kept: Bool[Tensor, "batch tokens"]) -> Iterator[None]:
    """Inside the ``with`` a pass of the model is computed from some tokens only; as many of each image.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> half = torch.arange(197).expand(8, -1) < 99
        >>> with without_tokens(model, layout, half):
        ...     model(images).shape
        torch.Size([8, 1000])
    """
    numbers = kept.nonzero()[:, 1].view(len(kept), -1)
    block = layout.blocks[0]
    with (
        kept_tokens(model, block, numbers, layout.tokens, tokens_first=layout.tokens_first),
        kept_arguments(model, layout, numbers),
    ):
        yield


def hidden_tokens(
    layout: Layout,
    kept: Bool[Tensor, "batch tokens"],
    seen: Callable[[Tensor], None] = lambda output: None,
) -> contextlib.AbstractContextManager[object]:
    """Inside the ``with`` no token attends to those that aren't kept, in any layer of the image's tokens.

    Their own way goes on, so that a head that averages all tokens still reads them.

    Args:
        layout: the model's structure.
        kept: which tokens of each image are attended to.
        seen: told of the output of each layer outside of the head, (batch, heads, queries, dim).

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> with hidden_tokens(layout, torch.arange(197).expand(8, -1) < 99):
        ...     model(images).shape
        torch.Size([8, 1000])
    """
    sites = iter(layout.calls)
    by_keys = {layout.tokens: kept, layout.grid.tokens: kept[:, layout.grid.patches]}

    def attend(call: AttentionCall) -> Tensor:
        site = next(sites)
        if site.stream is None:
            return call.run()
        by_head = with_head_dimension(call, len(kept))
        keys = by_head.key.shape[-2]
        if keys not in by_keys:
            raise ModelError(
                f"{site.name} has {keys} keys, for {layout.tokens} tokens: which is which isn't known"
            )
        output = fast_attention(_hiding(by_head, by_keys[keys]))
        if not site.pools:
            seen(output)
        return output.reshape(*call.query.shape[:-1], output.shape[-1])

    return intercept(attend, eager=layout.eager)


def _hiding(call: AttentionCall, kept: Bool[Tensor, "batch keys"]) -> AttentionCall:
    visible = kept[:, None, None]
    if call.is_causal:
        visible = visible & visible.new_ones(call.query.shape[-2], call.key.shape[-2]).tril()
    if call.mask is None:
        mask = visible
    elif call.mask.dtype == torch.bool:
        mask = call.mask & visible
    else:
        mask = call.mask.masked_fill(~visible, -torch.inf)
    return replace(call, mask=mask, is_causal=False)


@dataclass(frozen=True)
class Removable:
    """Why tokens of a model can't be left out, or hidden from attention; "" where they can.

    Example:
        >>> Removable(tokens="its blocks take all tokens only", attention="").attention
        ''
    """

    tokens: str
    attention: str


_memory: Memory[Removable] = Memory()


def removable(model: nn.Module, image: Image, layout: Layout, inputs: Inputs = NO_INPUTS) -> Removable:
    """Whether leaving tokens out does to a model's other tokens what it should: measured once, then remembered.

    Tokens that nothing attends to must not matter to others, whatever is in them; and a pass without them must give
    the others what they get then. So it isn't where tokens mix elsewhere than in attention that is seen (CaiT's
    talking heads, convolutions between blocks), or a position is told from a place in the sequence.

    Args:
        model: in the state in which it is recorded, given its inputs.
        image: of the recorded size.
        layout: the model's structure.
        inputs: what it is given besides, of this image.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> recording = record(model, images, score, Need.NOTHING)
        >>> with recording.resumed():
        ...     removable(model, images[:1], recording.layout)
        Removable(tokens='', attention='')
    """
    remembered = _memory.of(model, image, inputs)
    if remembered.value is None:
        remembered.keep(_measured(model, image, layout))
    assert remembered.value is not None
    return remembered.value


def _measured(model: nn.Module, image: Image, layout: Layout) -> Removable:
    obstacle = layout.obstacle
    if len(layout.streams) > 1:
        obstacle = f"it has {len(layout.streams)} streams of tokens of the image"
    elif not layout.blocks:
        obstacle = obstacle or "its transformer blocks weren't recognised"
    elif layout.grid.tokens == 1:
        obstacle = obstacle or "it has a single patch"
    if obstacle:
        return Removable(obstacle, obstacle)
    (patches,) = some_cells(layout.grid.tokens, 1)
    kept = tokens_of(layout, torch.tensor([patches], device=image.device))
    try:
        hidden, changed = (
            _last_layer(model, image, layout, kept, change=change)[kept] for change in (False, True)
        )
    except _FAILED as error:
        return Removable(str(error), str(error))
    mixes = "its tokens mix elsewhere than in attention that is seen"
    attention = "" if _same(hidden, changed) else mixes
    try:
        left = _last_layer_without(model, image, layout, kept)
    except _FAILED as error:
        left_out = f"it fails with {int(kept.sum())} of its {layout.tokens} tokens"
        return Removable(f"{left_out} ({str(error.__cause__ or error).splitlines()[0]})", attention)
    same = left.shape == changed.shape and _same(left, changed)
    return Removable(
        "" if same else "without some of its tokens it computes something else of the others", attention
    )


_FAILED = (ModelError, *_FAILURES)


def _same(one: Tensor, other: Tensor) -> bool:
    share = 1e-3 if one.dtype in (torch.float32, torch.float64) else 5e-2
    return bool((one - other).abs().max() <= share * other.abs().max())


def _last_layer(
    model: nn.Module, image: Image, layout: Layout, kept: Tensor, *, change: bool
) -> Float[Tensor, "1 tokens dim"]:
    """What the last layer gives, some tokens hidden; these changed in front of the first block, if asked for."""
    outputs: list[Tensor] = []
    met: list[Tokens] = []

    def changed(values: Tokens) -> Tokens:
        met.append(values)
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0)).to(values)
        return torch.where(kept[:, :, None] | (not change), values, values + values.std() * noise)

    with (
        torch.no_grad(),
        block_input(model, layout.blocks[0], 1, layout.tokens, changed, tokens_first=layout.tokens_first),
        hidden_tokens(layout, kept, outputs.append),
    ):
        model(image)
    if not met or outputs[-1].shape[-2] != layout.tokens:
        raise ModelError("its blocks aren't given all of its tokens in one tensor")
    return outputs[-1].transpose(1, 2).flatten(2)


def _last_layer_without(
    model: nn.Module, image: Image, layout: Layout, kept: Tensor
) -> Float[Tensor, "kept dim"]:
    outputs: list[Tensor] = []
    sites = iter(layout.calls)

    def attend(call: AttentionCall) -> Tensor:
        site = next(sites)
        if site.stream is None or site.pools:
            return call.run()
        output = with_head_dimension(call, 1).run()
        outputs.append(output)
        return output.reshape(*call.query.shape[:-1], output.shape[-1])

    with torch.no_grad(), without_tokens(model, layout, kept), intercept(attend, eager=layout.eager):
        model(image)
    return outputs[-1].transpose(1, 2).flatten(2)[0]

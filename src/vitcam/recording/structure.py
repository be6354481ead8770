"""Measures the structure of a model, once per input size, before it is explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.blocks import find_blocks
from vitcam.recording.follow import Followed, follow, reached_by_noise
from vitcam.recording.layout import (
    NO_SEQUENCES,
    CallSite,
    Image,
    Layout,
    Overrides,
    Sides,
    Stream,
    changed_cells,
    even_grids,
    grids_of_convolutions,
    laid,
    some_cells,
)
from vitcam.recording.obstacles import (
    SeenCall,
    break_of,
    disorder_of,
    obstacle_of,
    reaches,
    streams_of_calls,
    unseen_between,
    unseen_in_front,
)
from vitcam.recording.places import measured_grid
from vitcam.recording.scout import Scouted, other_calls, other_tokens, scout, tokens_at
from vitcam.recording.sequences import confirmed_sequences
from vitcam.recording.watch import Rows, change_of, tolerance
from vitcam.types import PatchGrid, sides


def find_layout(model: nn.Module, image: Image, overrides: Overrides) -> tuple[Layout, Followed]:
    """Measures a model's structure; its output for the image comes with it.

    Raises:
        ModelError: the model calls no attention that the image reaches, or which token is which place of the image
            couldn't be confirmed.
    """
    scouted = scout(model, image)
    before: list[Tensor] = []
    grid, certain = _first_grid(model, image, scouted, overrides, before)
    patches = torch.zeros(scouted.tokens, dtype=torch.bool, device=image.device)
    patches[grid.patches] = True
    chosen = _with_half_of(patches)
    followed = follow(model, image, changed_cells(image, grid, some_cells(grid.tokens, 1)), scouted, chosen)
    if any(
        (change_of(tokens, followed.first) > 10 * tolerance(followed.behaviour.dtype)).any()
        for tokens in before
    ):
        raise other_tokens(model)
    calls = followed.calls
    reached = [index for index, call in enumerate(calls) if reaches(call)]
    if not reached:  # deep behind convolutions that pass on little of a change
        faint = tolerance(followed.behaviour.dtype)
        reached = [index for index, call in enumerate(calls) if call.changes.max() > faint]
    if not reached:
        raise other_calls(model)
    blocks = _blocks(model, calls, reached, overrides.first_block)
    inside = frozenset(index for index in reached if any(name in blocks for name in calls[index].stack))
    # An attention behind all blocks, which pools the tokens for the head, may see some of them only.
    *layers, last = reached
    pools = bool(layers) and calls[last].own_queries and last not in inside
    layers = layers if pools else reached
    stream_of, obstacle = streams_of_calls(calls, reached)
    streams = [Stream(grid, calls[reached[0]].keys)]
    obstacle = (
        obstacle or obstacle_of(calls, layers, inside) or unseen_between(calls, layers, followed.unseen)
    )
    obstacle = obstacle or disorder_of(calls, layers, stream_of)
    if not obstacle and certain:
        followed_on = {index: stream_of[index] for index in layers}
        obstacle = break_of(calls, followed_on, chosen, patches, tolerance(followed.behaviour.dtype))
    if not obstacle and len(set(stream_of.values())) > 1:
        streams, obstacle = _all_streams(model, image, scouted, calls, stream_of, streams[0])
    tokens = streams[0].tokens
    if not obstacle and pools and calls[last].keys not in (tokens, grid.tokens):
        obstacle = f"the attention that pools its {tokens} tokens sees {calls[last].keys} of them"
    if not obstacle and not certain:
        obstacle = unseen_in_front(calls[reached[0]])
    if not obstacle and not certain:
        raise _unconfirmed(model, image, scouted)
    sequences = NO_SEQUENCES
    if certain and (obstacle or len(reached) < len(calls)):
        sequences = confirmed_sequences(model, image, calls, reached, followed.unseen)
    if obstacle:
        tokens = calls[last].keys * calls[last].windows
        if not sequences:
            grid = _grid_behind_obstacle(tokens, grid if certain else None, scouted, image)
        apart = len(set(stream_of.values()))
        stream_of, streams = dict.fromkeys(reached, 0), [Stream(grid, tokens)] * apart
    sites = tuple(
        CallSite(call.name, stream_of.get(index), pools and index == last, call.queries, call.keys)
        for index, call in enumerate(calls)
    )
    layout = Layout(
        **vars(followed.behaviour),
        grid=grid,
        tokens=tokens,
        blocks=blocks,
        calls=sites,
        streams=tuple(streams),
        obstacle=obstacle,
        eager=any(call.eager for call in calls),
        together=scouted.together,
        tokens_first=followed.tokens_first,
        behind=next((name for before, name in reversed(followed.unseen) if before > layers[-1]), None),
        sequences=sequences,
    )
    return layout, followed


def _first_grid(
    model: nn.Module, image: Image, scouted: Scouted, overrides: Overrides, seen: list[Tensor]
) -> tuple[PatchGrid, bool]:
    """How the tokens of the first attention call lie over the image, and whether that is certain.

    What the image itself gave each time is appended to ``seen``.
    """

    def respond(copies: Rows) -> Tensor:
        tokens = tokens_at(model, copies, scouted, scouted.first)
        seen.append(tokens[0])
        return tokens

    size = tuple(image.shape[2:])
    convolutions = grids_of_convolutions(scouted.tokens, scouted.convolutions)
    candidates = list(dict.fromkeys([*convolutions, *even_grids(scouted.tokens, size)]))
    grid = measured_grid(respond, image, candidates, convolutions)
    wanted = overrides.grid and tuple(map(int, overrides.grid))
    if grid is None:
        if wanted is not None and overrides.prefix is not None:
            return _as_given(wanted, overrides.prefix, scouted.tokens, size), True
        shape = (candidates or [(1,) * len(size)])[0]
        return laid(shape, max(0, scouted.tokens - math.prod(shape))), False
    if (wanted or grid.shape) != grid.shape or (overrides.prefix or grid.prefix) != grid.prefix:
        what = ", ".join(
            f"{name}={value}"
            for name, value in (("grid", wanted), ("prefix", overrides.prefix))
            if value is not None
        )
        raise ModelError(
            f"{what} was given, but {type(model).__name__} has {grid}: when patches of the image change, those are "
            "the tokens that change. Leave grid and prefix out; vitcam.inspect(model, images) shows what was found"
        )
    return grid, True


def _as_given(shape: Sides, prefix: int, tokens: int, size: Sides) -> PatchGrid:
    if len(shape) != len(size) or prefix < 0 or min(shape) < 1 or prefix + math.prod(shape) > tokens:
        raise ModelError(
            f"a grid of {sides(shape)} patches after {prefix} prefix tokens doesn't fit the {tokens} tokens "
            "that the attention layers see. Pass grid=(rows, columns) and prefix=N so that prefix + rows·columns "
            "≤ tokens"
        )
    return laid(shape, prefix)


def _unconfirmed(model: nn.Module, image: Image, scouted: Scouted) -> ModelError:
    sizes = ", ".join(map(sides, dict.fromkeys(scouted.convolutions))) or "none"
    return ModelError(
        f"which of the {scouted.tokens} tokens of {type(model).__name__} is which place of the image couldn't be "
        "confirmed: when places of the image change, the tokens that change are no grid of patches (convolution "
        f"outputs: {sizes}; image: {sides(image.shape[2:])}). If you know how they lie, pass "
        "grid=(rows, columns) and prefix=N, the number of tokens in front of the patches; they must follow row by row"
    )


def _with_half_of(patches: Tensor) -> Tensor:
    """All tokens of no place, and half of those that have one."""
    chosen = ~patches
    places = patches.nonzero().flatten()
    (half,) = some_cells(len(places), 1)
    chosen[places[torch.tensor(half, device=places.device)]] = True
    return chosen


def _blocks(
    model: nn.Module, calls: Sequence[SeenCall], reached: Sequence[int], first_block: str | None
) -> tuple[str, ...]:
    """The transformer blocks: siblings each of which makes one of the first stream's calls, if there are such."""
    stack = calls[reached[0]].stack
    if first_block is not None:
        if first_block not in stack:
            raise ModelError(
                f"first_block={first_block!r} doesn't contain the first attention call, which was made inside "
                f"{' > '.join(name for name in stack if name)}"
            )
        return find_blocks(model, [first_block]) or (first_block,)
    candidates = [blocks for name in stack if (blocks := find_blocks(model, [name]))]

    def of_calls(blocks: tuple[str, ...]) -> list[str]:
        return [name for index in reached for name in calls[index].stack if name in blocks]

    one_each = [blocks for blocks in candidates if len(of_calls(blocks)) == len(set(of_calls(blocks))) > 1]
    return (one_each or candidates or [()])[0]


def _all_streams(
    model: nn.Module,
    image: Image,
    scouted: Scouted,
    calls: Sequence[SeenCall],
    stream_of: dict[int, int],
    first: Stream,
) -> tuple[list[Stream], str]:
    """Every stream of tokens, each measured on its own; or what stands in the way."""
    streams = [first]
    for number in range(1, max(stream_of.values()) + 1):
        others = frozenset(index for index, stream in stream_of.items() if stream != number)
        start = min(index for index, stream in stream_of.items() if stream == number)
        name = calls[start].name or "the model"
        if any(stream_of.get(index) == number for index in reached_by_noise(model, image, others, scouted)):
            return (
                streams,
                f"how the tokens of {name} come from those of the layers before it couldn't be followed",
            )
        grid = measured_grid(
            partial(tokens_at, model, scouted=scouted, call=start),
            image,
            [first.grid.shape],
            [],
        )
        if grid is None or (grid.shape, grid.region) != (first.grid.shape, first.grid.region):
            lie = "tokens whose places couldn't be confirmed" if grid is None else str(grid)
            return streams, (
                f"it has two streams of tokens of the image: {first.grid} that begin in "
                f"{calls[min(stream_of)].name or 'the model'}, and {lie} that begin in {name}"
            )
        streams.append(Stream(grid, calls[start].keys))
    return streams, ""


def _grid_behind_obstacle(
    tokens: int, measured: PatchGrid | None, scouted: Scouted, image: Image
) -> PatchGrid:
    """A grid for maps at the pixels, of a model whose tokens aren't followed to the end."""
    size = tuple(image.shape[2:])
    if measured is not None and measured.region is not None:
        return measured
    shape = next(iter(even_grids(tokens, size)), ())
    if shape and tokens - math.prod(shape) <= (1 if measured is None else measured.prefix):
        return laid(shape, tokens - math.prod(shape))
    if measured is not None:
        return measured
    if scouted.convolutions:  # their places lie over the image, whatever became of the tokens
        shape = scouted.convolutions[-1]
    if shape:
        return laid(shape, max(0, tokens - math.prod(shape)))
    raise ModelError(
        f"the attention layers see {tokens} tokens at last, which are no grid of patches over an image of "
        f"{sides(size)}. Give images of another size"
    )

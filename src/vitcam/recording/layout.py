"""The structure of a model at one input size, and how its tokens lie over an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.types import PatchGrid

Image = Float[Tensor, "1 channels *space"]
Sides = tuple[int, ...]


def grids_of_convolutions(tokens: int, convolutions: Sequence[Sides]) -> list[Sides]:
    """The (rows, columns) of what convolutions gave, the last first, that fit a number of tokens.

    The patch embedding is often the last convolution before the first attention whose output has nearly as many
    places as there are tokens; the tokens left over belong to no place.

    Example:
        >>> grids_of_convolutions(197, [(112, 112), (14, 14)])
        [(14, 14)]
    """
    fitting = [size for size in convolutions if tokens / 2 < math.prod(size) <= tokens]
    return list(dict.fromkeys(reversed(fitting)))


def even_grids(tokens: int, size: Sides) -> list[Sides]:
    """The (rows, columns) of square patches with at most 16 tokens left over, the fewest first.

    In a volume the patches are cubes.

    Example:
        >>> even_grids(37, (96, 96))
        [(6, 6), (5, 5)]
    """
    fitting = []
    for patches in range(tokens, max(0, tokens - 17), -1):
        side = (math.prod(size) / patches) ** (1 / len(size))
        shape = tuple(round(length / side) for length in size)
        if math.prod(shape) == patches and all(
            n * size[0] == shape[0] * length for n, length in zip(shape, size, strict=True)
        ):
            fitting.append(shape)
    return fitting


def laid(shape: Sides, prefix: int, order: Sequence[int] = ()) -> PatchGrid:
    """The patch grid of a shape."""
    *outer, height, width = shape
    return PatchGrid(height, width, prefix, tuple(order), outer=tuple(outer))


def grid_of(order: Sequence[int], shape: Sides) -> PatchGrid:
    """The patch grid of which each patch's token is known, row by row."""
    prefix = min(order)
    follows = list(order) == list(range(prefix, prefix + len(order)))
    return laid(shape, prefix, () if follows else order)


def cells(grid: PatchGrid, size: Sides) -> list[tuple[slice, ...]]:
    """The pixels of each patch along each axis, row by row of the grid."""
    region = grid.region or (*[0] * len(size), *size)

    def cut(start: float, stop: float, parts: int, length: int) -> list[slice]:
        edges = [round(start + (stop - start) * i / parts) for i in range(parts + 1)]
        return [slice(max(0, a), max(0, min(b, length))) for a, b in pairwise(edges)]

    starts, stops = region[: len(size)], region[len(size) :]
    return list(product(*map(cut, starts, stops, grid.shape, size)))


def changed_copies(image: Image, masks: Bool[Tensor, copies * space]) -> Tensor:
    """Copies of an image, the masked pixels of each changed, always in the same way."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape[1:], generator=generator).to(image)
    scale = image.std(correction=0).clamp_min(0.5)
    other = torch.where(image.mean() > 0, -1.0, 1.0) * 0.5 * scale + noise * scale + image
    return torch.where(masks[:, None].to(image.device), other.to(image.dtype), image)


def some_cells(count: int, copies: int) -> Iterator[list[bool]]:
    """Which of some places are changed in each of some copies: about half of them, at random, never all or none."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(copies):
        chosen = torch.rand(count, generator=generator) < 0.5
        chosen[0], chosen[-1] = True, count == 1
        yield chosen.tolist()


def changed_cells(image: Image, grid: PatchGrid, chosen: Iterable[Sequence[bool]]) -> Tensor:
    """Copies of an image, in each of which some patches are changed."""
    places = cells(grid, tuple(image.shape[2:]))
    masks = []
    for some in chosen:
        mask = torch.zeros(image.shape[2:], dtype=torch.bool)
        for place, change in zip(places, some, strict=True):
            mask[place] |= change
        masks.append(mask)
    return changed_copies(image, torch.stack(masks))


@dataclass(frozen=True)
class Stream:
    """Tokens of an image that go through attention layers together.

    Attributes:
        grid: how they lie over the image.
        tokens: how many there are.
    """

    grid: PatchGrid
    tokens: int


@dataclass(frozen=True)
class Overrides:
    """What a user may give instead of letting it be found. None: find it.

    Attributes:
        grid: (rows, columns) of patches; (times, rows, columns) of a clip, (planes, rows, columns) of a volume.
        prefix: the number of tokens in front of the first patch.
        first_block: the name of the first transformer block.

    Raises:
        ModelError: they aren't of these types.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> given = Overrides(grid=(14, 14), prefix=1)
        >>> record(model, images, score, Need.NOTHING, given=given).layout.grid
        PatchGrid(height=14, width=14, prefix=1, order=(), region=None)
    """

    grid: Sides | None = None
    prefix: int | None = None
    first_block: str | None = None

    def __post_init__(self) -> None:
        sides = (1, 1) if self.grid is None else self.grid
        if (
            not isinstance(sides, Sequence)
            or len(sides) not in (2, 3)
            or not all(isinstance(n, int) for n in sides)
        ):
            raise ModelError(
                "grid must be two whole numbers, (rows, columns) of patches, of which a clip or volume has three; "
                f"got {self.grid!r}"
            )
        if self.prefix is not None and not isinstance(self.prefix, int):
            raise ModelError(f"prefix must be a whole number of tokens; got {self.prefix!r}")


@dataclass(frozen=True)
class CallSite:
    """One attention call of a model, in the order of the calls.

    Attributes:
        name: the module that makes it.
        stream: the number of the stream of tokens of which it is a layer; None if it is a layer of none (a text's).
        pools: whether it stands outside the blocks and pools the tokens for the head.
        queries, keys: its numbers of tokens.
    """

    name: str
    stream: int | None
    pools: bool
    queries: int
    keys: int


@dataclass(frozen=True)
class Between:
    """Of one attention call the sequences of tokens, by number, of its queries and of its keys."""

    queries: int
    keys: int


@dataclass(frozen=True)
class Sequences:
    """The sequences of tokens that attention goes between: an image's, objects' queries, a text's.

    Attributes:
        tokens: how many there are in each; the image's come first. () where there is one, or they couldn't be told.
        calls: of each attention call that the model makes.
    """

    tokens: tuple[int, ...] = ()
    calls: tuple[Between, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tokens)


NO_SEQUENCES = Sequences()


@dataclass(frozen=True)
class Behaviour:
    """What has to be minded in every pass of a model.

    Attributes:
        written_over: whether the model writes over what its attention has read, so that copies are to be kept.
        writes_images: whether it writes into its images, so that each pass needs a copy of them.
        dtype: the lowest precision that anything in the model is computed in.
    """

    written_over: bool = False
    writes_images: bool = False
    dtype: torch.dtype = torch.float32

    def joined(self, other: Behaviour) -> Behaviour:
        """That of a model which behaved in the one way in one pass, and in the other in another."""
        return Behaviour(
            self.written_over or other.written_over,
            self.writes_images or other.writes_images,
            min(self.dtype, other.dtype, key=lambda dtype: dtype.itemsize),
        )


@dataclass(frozen=True, kw_only=True)
class Layout(Behaviour):
    """The structure of a model at one input size, as it was measured.

    Attributes:
        grid: how the tokens lie over the image.
        tokens: the number of key tokens of the attention layers.
        blocks: the names of the transformer blocks; () if none were recognised.
        calls: every attention call that the model makes.
        streams: the streams of tokens whose layers they are. Their maps add up: of a model that looks at an image
            and at its mirror image, say. A plain ViT has one.
        obstacle: why this is no plain ViT, whose layers all attend over the same tokens; "" if it is one.
        eager: whether the model computes attention step by step and never calls torch's function for it.
        together: whether images go through the model in batches, each as if it were alone.
        tokens_first: whether tokens are laid out as (tokens, batch, channels).
        written_over: whether the model writes over what its attention has read, so that copies are to be kept.
        writes_images: whether it writes into its images, so that each pass needs a copy of them.
        dtype: the lowest precision that anything in the model is computed in.
        behind: the module that computes attention behind the last layer in a way that isn't seen; None if none does.
        sequences: those that attention goes between, where there are several and all of it is understood.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> layout.grid, layout.tokens, layout.blocks[0]
        (PatchGrid(height=14, width=14, prefix=1, order=(), region=None), 197, 'blocks.0')
        >>> layout.calls[0]
        CallSite(name='blocks.0.attn', stream=0, pools=False, queries=197, keys=197)
    """

    grid: PatchGrid
    tokens: int
    blocks: tuple[str, ...]
    calls: tuple[CallSite, ...]
    streams: tuple[Stream, ...]
    obstacle: str
    eager: bool
    together: bool
    tokens_first: bool
    behind: str | None
    sequences: Sequences = NO_SEQUENCES

    @property
    def across(self) -> Layout:
        """The same with every call of its sequences as a layer, of the stream that is its queries' sequence."""
        pairs = zip(self.calls, self.sequences.calls, strict=True)
        calls = tuple(replace(call, stream=between.queries, pools=False) for call, between in pairs)
        return replace(self, calls=calls)

    @property
    def layers(self) -> tuple[CallSite, ...]:
        """The calls that are layers of the image's tokens."""
        return tuple(call for call in self.calls if call.stream is not None)

    def changed_copies(self, image: Image) -> Tensor:
        """Copies of an image in which some places are changed.

        Example:
            >>> from vitcam.recording import Need, Score, record
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> layout = record(model, images, score, Need.NOTHING).layout
            >>> layout.changed_copies(images[:1]).shape
            torch.Size([2, 3, 224, 224])
        """
        return changed_cells(image, self.grid, some_cells(self.grid.tokens, 2))

    @property
    def callers(self) -> tuple[str, ...]:
        """The names of the modules that make them."""
        return tuple(call.name for call in self.layers)

    @property
    def pooling(self) -> frozenset[str]:
        """The names of those that stand outside the blocks and pool the tokens for the head."""
        return frozenset(call.name for call in self.layers if call.pools)

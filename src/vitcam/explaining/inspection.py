"""What is found out about a model before it is explained: ``inspect``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from vitcam.explaining.arguments import MoreInputs
from vitcam.explaining.batches import AnyModel, any_targets, for_each_batch
from vitcam.explaining.inputs import Images
from vitcam.methods import METHODS, obstacle_of
from vitcam.recording import CallSite, Head, Layout, Need, Overrides, Recording, facts_of
from vitcam.types import PatchGrid, sides


@dataclass(frozen=True)
class Inspection:
    """The structure of a model at one size of images, as it was measured. It prints readably.

    Attributes:
        model: the name of its class.
        image_size: (height, width) of the images.
        layout: its attention calls and streams of tokens.
        heads: per stream of tokens, what the model's head reads of it.
        replays: whether the tokens of no patch alone give the same logits again, which makes ``agcam`` cheap.
        classes: how many logits it gives; None if what it gives are no logits of classes.
        methods: per method why it isn't defined for such a structure; "" if it is.

    Example:
        >>> found = vitcam.inspect(model, images)
        >>> found.grid.height, found.others, found.layers[0].name, found.reads
        (14, (0,), 'blocks.0.attn', ('token 0',))
        >>> found.tokens_of_patches[2, 3]  # the token of the patch in row 2, column 3
        tensor(32)
        >>> print(found)
        VisionTransformer on images of 224×224
          patches      14×14, tokens 1 to 196, row by row; they cover the whole image
          other tokens 0
          ...
    """

    model: str
    image_size: tuple[int, ...]
    layout: Layout
    heads: tuple[Head, ...]
    replays: bool
    classes: int | None
    methods: Mapping[str, str]

    @property
    def grid(self) -> PatchGrid:
        """How the tokens of the first stream lie over the image."""
        return self.layout.grid

    @property
    def tokens_of_patches(self) -> Int[Tensor, "*grid"]:
        """The token of each patch, in the first stream."""
        return _places(self.grid)

    @property
    def others(self) -> tuple[int, ...]:
        """The tokens of no patch, in the first stream: class token, registers."""
        patches = set(self.tokens_of_patches.flatten().tolist())
        return tuple(token for token in range(self.layout.tokens) if token not in patches)

    @property
    def layers(self) -> tuple[CallSite, ...]:
        """The attention calls that are layers of the image's tokens, with the names of the modules that make them."""
        return self.layout.layers

    @property
    def obstacle(self) -> str:
        """Why this is no plain ViT, whose layers all attend over the same tokens; "" if it is one."""
        return self.layout.obstacle

    @property
    def reads(self) -> tuple[str, ...]:
        """What the head reads of each stream, in words."""
        if self.obstacle:
            return ()
        streams = zip(self.layout.streams, self.heads, strict=True)
        return tuple(_read(head, stream.grid, stream.tokens) for stream, head in streams)

    def __str__(self) -> str:
        layout = self.layout
        rows: list[tuple[str, str]] = []
        for number, stream in enumerate(layout.streams):
            of = f" of stream {number + 1}" if len(layout.streams) > 1 else ""
            rows.append((f"patches{of}", _laid(stream.grid, self.image_size)))
        rows.append(("other tokens", _numbers(self.others) or "none"))
        for number in range(len(layout.streams)):
            names = [_named(call) for call in self.layers if call.stream == number]
            of = f" of stream {number + 1}" if len(layout.streams) > 1 else ""
            rows.append((f"layers{of}", f"{len(names)}: {', '.join(names)}"))
        if left := [_named(call) for call in layout.calls if call.stream is None]:
            rows.append(("no layers", f"{', '.join(left)}: attention over no tokens of the image"))
        rows.append(("blocks", ", ".join(layout.blocks) or "not recognised"))
        if self.obstacle:
            rows.append(("no plain ViT", self.obstacle))
        else:
            rows.append(("head reads", "; ".join(self.reads)))
        if layout.sequences:
            own, *others = layout.sequences.tokens
            rows.append(
                ("sequences", f"{own} tokens of the image, and {', '.join(map(str, others))} of others")
            )
        logits = "no logits of classes were recognised" if self.classes is None else f"{self.classes} logits"
        rows.append(("output", logits))
        if layout.eager:
            rows.append(("attention", "written out, not torch's scaled_dot_product_attention"))
        if not layout.together:
            rows.append(("batches", "takes images one by one"))
        rows.append(
            ("replays", "yes, on its tokens of no patch" if self.replays else "no, all tokens take part")
        )
        works = [name for name, why in self.methods.items() if not why]
        rows.append(("methods", "all" if len(works) == len(self.methods) else ", ".join(works)))
        width = max(len(name) for name, _ in rows) + 1
        lines = [f"{self.model} on images of {sides(self.image_size)}"]
        for name, text in rows:
            lines += textwrap.wrap(
                text,
                100,
                initial_indent=f"  {name:{width}}",
                subsequent_indent=" " * (width + 2),
                break_long_words=False,
            )
        return "\n".join(lines)


def inspect(
    model: AnyModel,
    images: Images,
    *,
    inputs: MoreInputs = None,
    device: str | torch.device | None = None,
    grid: tuple[int, ...] | None = None,
    prefix: int | None = None,
    first_block: str | None = None,
    kind: str | None = None,
) -> Inspection:
    """What was found out about a model: its streams of tokens, which token is which patch, its layers, its head.

    It is what ``explain`` goes by. Which methods work is said as far as the structure tells.

    Args:
        images: of the size in question; the first one is looked at.
        model, inputs, device, grid, prefix, first_block, kind: as for :func:`vitcam.explain`.

    Raises:
        ImageError, ModelError: as for :func:`vitcam.explain`; but not where a model is no plain ViT.

    Example:
        >>> found = vitcam.inspect(photo_model, photo)
        >>> found.grid.tokens, found.classes, len(found.layers), found.obstacle
        (144, 62, 6, '')
    """
    given = Overrides(grid, prefix, first_block)

    def found(recording: Recording, *_: object) -> Inspection:
        with recording.resumed():
            facts = facts_of(recording.model, recording.images, recording.score, given, recording.inputs)
        logits = None if facts.headless else recording.logits
        return Inspection(
            model=type(recording.model).__name__,
            image_size=tuple(recording.images.shape[2:]),
            layout=facts.layout,
            heads=facts.heads,
            replays=facts.replays and logits is not None,
            classes=None if logits is None else logits.shape[1],
            methods={name: obstacle_of(method, facts.layout) for name, method in METHODS.items()},
        )

    (inspection,) = for_each_batch(
        found,
        model,
        images,
        any_targets(model),
        Need.NOTHING,
        batch_size=1,
        device=device,
        given=given,
        inputs=inputs,
        kind=kind,
        only_first=True,
    )
    return inspection


def _places(grid: PatchGrid) -> Int[Tensor, "*grid"]:
    tokens = grid.order or range(grid.prefix, grid.prefix + grid.tokens)
    places: Tensor = torch.tensor(list(tokens)).unflatten(0, grid.shape)
    return places


def _laid(grid: PatchGrid, size: tuple[int, ...]) -> str:
    where = (
        f"tokens {grid.prefix} to {grid.prefix + grid.tokens - 1}, row by row"
        if not grid.order
        else f"in an order of their own: {', '.join(map(str, grid.order[:6]))}{', …' * (grid.tokens > 6)}"
    )
    covered = "they cover the whole image"
    if grid.region is not None:
        starts, stops = grid.region[: len(size)], grid.region[len(size) :]
        named = ("rows", "columns") if len(size) == 2 else ("planes", "rows", "columns")
        cover = [f"{name} {a:g} to {b:g}" for name, a, b in zip(named, starts, stops, strict=True)]
        covered = f"they cover {', '.join(cover[:-1])} and {cover[-1]} of {sides(size)}"
    return f"{sides(grid.shape)}, {where}; {covered}"


def _named(call: CallSite) -> str:
    return f"{call.name or 'the model itself'}{' (pools)' * call.pools}"


def _read(head: Head, grid: PatchGrid, tokens: int) -> str:
    if head.pools:
        return "the tokens through an attention of its own"
    read = head.rows.nonzero().flatten().tolist()
    if not read:
        return "no token"
    if len(read) == tokens:
        return f"all {tokens} tokens"
    if read == sorted(_places(grid).flatten().tolist()):
        return f"all {grid.tokens} patches"
    return f"token{'s' * (len(read) > 1)} {_numbers(read)}"


def _numbers(tokens: tuple[int, ...] | list[int]) -> str:
    """Numbers, those that follow one another as from the first to the last.

    Example:
        >>> _numbers([0, 5, 6, 7, 9])
        '0, 5 to 7, 9'
    """
    runs: list[list[int]] = []
    for token in tokens:
        if runs and token == runs[-1][-1] + 1:
            runs[-1].append(token)
        else:
            runs.append([token])
    return ", ".join(f"{run[0]}{f' to {run[-1]}' * (len(run) > 1)}" for run in runs)

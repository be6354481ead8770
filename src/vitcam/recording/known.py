"""What is known about a model before it is explained: measured once per state and input size, then kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.binding import NO_INPUTS, Inputs, bound, is_binding
from vitcam.recording.blocks import Tokens, block_input
from vitcam.recording.follow import Followed
from vitcam.recording.head import check_head
from vitcam.recording.layout import Layout, Overrides, find_layout
from vitcam.recording.output import find_logits, logits_of
from vitcam.recording.passes import Pass, detached_pass, gradients, plain_pass, read_pass
from vitcam.recording.replay import replay
from vitcam.recording.score import Score, Scorer
from vitcam.recording.watch import change_of, features_of, tolerance

_memory: WeakKeyDictionary[nn.Module, dict[Any, Known]] = WeakKeyDictionary()
_REMEMBERED = 32  # states and input sizes of one model


@dataclass(frozen=True)
class Head:
    """What the head reads of one stream of tokens.

    Attributes:
        rows: (tokens,) the share of each token: equal among those that the head reads after the last block, 0
            elsewhere. All 0 if the output depends on none of them.
        pools: whether it reads the tokens through an attention of its own.
    """

    rows: Float[Tensor, " tokens"]
    pools: bool


@dataclass(frozen=True)
class Known:
    """What is known about a model at one input size.

    Attributes:
        layout: its structure.
        replays: whether a replay of the prefix tokens alone gives the recorded logits, so that the head
            reads no other token.
        heads: what the head reads of each stream.
        headless: why what looks like logits is none; "" if it is.
    """

    layout: Layout
    replays: bool
    heads: tuple[Head, ...]
    headless: str

    @property
    def head_rows(self) -> Float[Tensor, " tokens"]:
        """The share of each token of the first stream in what the head reads."""
        return self.heads[0].rows

    @property
    def pools(self) -> bool:
        """Whether the head reads the tokens of the first stream through an attention of its own."""
        return self.heads[0].pools


def know(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    score: Score,
    given: Overrides,
    inputs: Inputs = NO_INPUTS,
) -> Known:
    """Measures, or remembers, what must be known about a model, that is given these inputs besides the images.

    Models without logits are looked at anew each time, since what counts as their head is in the score.
    """
    key = (images.shape[1:], images.device, images.dtype, given, state_of(model), inputs.key)
    remembered = _memory.setdefault(model, {})
    if key in remembered:
        return remembered[key]
    # The first image alone is looked at, with inputs of its own.
    with torch.autocast(images.device.type, enabled=False), bound(model, inputs.of(0, 1)):
        known, depends_on_score = _learn(model, images, score, given)
    # A head of zeros may be trained.
    if not depends_on_score and all(head.pools or bool(head.rows.any()) for head in known.heads):
        while len(remembered) >= _REMEMBERED:
            remembered.pop(next(iter(remembered)))
        remembered[key] = known
    return known


def state_of(model: nn.Module) -> int:
    """A number that changes with what may change a model's structure: its modules, and plain values of theirs.

    Values of weights aren't among them.
    """
    found: list[Any] = []
    configs: dict[int, Any] = {}
    for module in model.modules():
        found.append(id(module))
        for name, value in vars(module).items():
            kind = type(value)
            if kind in _PLAIN:
                if name != "training":
                    found.append((name, value))
            elif name in _HOOKS:
                found.extend(id(hook) for hook in value.values() if not is_binding(hook))
            elif name == "config":
                configs[id(value)] = value
            elif name == "_parameters":
                found.extend(
                    (id(parameter), parameter.shape) for parameter in value.values() if parameter is not None
                )
            elif kind in (tuple, list):
                found.append((name, tuple(value) if _is_plain(tuple(value)) else id(value)))
            elif callable(value):
                found.append((name, id(value)))
    for config in configs.values():
        found.extend(
            (name, value) for name, value in getattr(config, "__dict__", {}).items() if _is_plain(value)
        )
    return hash(tuple(found))


_PLAIN = frozenset({int, float, str, bool, type(None)})
_HOOKS = frozenset({"_forward_hooks", "_forward_pre_hooks"})


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


def agree(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether two sets of logits are the same, up to a share of their spread."""
    if one.shape != other.shape:
        return False
    one, other = one.detach().float(), other.detach().float()
    spread = one.max() - one.min() if one.shape[-1] > 1 else one.abs().max()
    return bool((one - other).abs().amax() <= share * spread)


def _learn(model: nn.Module, images: Tensor, score: Score, given: Overrides) -> tuple[Known, bool]:
    image = images[:1]
    try:
        layout, followed = find_layout(model, image, given)
    except ModelError as error:
        if len(images) > 1 and _takes(model, images) and not _takes(model, image):
            raise ModelError(
                f"{type(model).__name__} takes {len(images)} images at a time and not one, so that its structure "
                "can't be measured. Give a model that takes one image"
            ) from error
        raise
    logits = find_logits(followed.output)
    headless = "" if logits is None else _headless(model, logits, followed)
    if layout.obstacle:
        evenly = Head(images.new_full((layout.tokens,), 1 / layout.tokens), False)
        return Known(layout, False, (evenly,), headless), False
    if logits is None:
        run = detached_pass(model, images if layout.together else image, layout)
        scorer = score.scorer(score.targets(run.output, len(images) if layout.together else 1))
        return Known(layout, _may_replay(layout), _heads(model, image, layout, run, scorer), headless), True
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(logits.shape[1], generator=generator).to(logits)
    scorer = Score(function=lambda output: logits_of(output) @ direction).scorer(None)
    if _may_replay(layout):
        inputs: list[Tokens] = []
        with recorded_prefix(model, image, layout, inputs):
            run = plain_pass(model, image, layout)
        replayed = replay(model, image, layout, inputs[0] if inputs else None, run.layers)
        logits = _same_again(model, followed, run)
        replayed_logits = None if replayed is None else find_logits(replayed.output)
        tolerance = 1e-3 if logits.dtype == torch.float32 else 5e-2
        if replayed is not None and replayed_logits is not None and agree(logits, replayed_logits, tolerance):
            return Known(layout, True, _heads(model, image, layout, replayed, scorer), headless), False
    run = detached_pass(model, image, layout)
    _same_again(model, followed, run)
    return Known(layout, False, _heads(model, image, layout, run, scorer), headless), False


def _same_again(model: nn.Module, followed: Followed, run: Pass) -> Tensor:
    """The logits of a pass of one image, if it had the same, and the same tokens, when the model was followed."""
    logits, before = logits_of(run.output), logits_of(followed.output)
    if not (logits.isfinite().all() and before.isfinite().all()):
        return logits  # which is said when they are used
    tokens = features_of(run.layers[0].call, 1)[0]
    same = tokens.shape == followed.first.shape and not bool(
        (change_of(tokens, followed.first) > 10 * tolerance(logits.dtype)).any()
    )
    if not same or not agree(before[:1], logits, 1e-3 if tolerance(logits.dtype) < 1e-3 else 5e-2):
        raise ModelError(
            f"{type(model).__name__} gives another output, or other tokens, for the same image from call to call, or "
            "with other images beside it, so that no map would fit. Does it keep something from one call to the "
            "next, draw at random also when it evaluates, or mix the images of a batch?"
        )
    return logits


def _headless(model: nn.Module, logits: Tensor, followed: Followed) -> str:
    try:
        check_head(model, logits, followed.lineage)
    except ModelError as error:
        return str(error)
    return ""


def _takes(model: nn.Module, images: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(images)
    except Exception:  # whatever a model raises that doesn't take them
        return False
    return True


def _may_replay(layout: Layout) -> bool:
    """Whether tokens of no place stand in front of all others, of a single stream, behind blocks that were found."""
    return bool(
        layout.grid.prefix
        and not layout.grid.order
        and len(layout.streams) == 1
        and layout.blocks
        and layout.together
    )


def recorded_prefix(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], layout: Layout, into: list[Tokens]
) -> Any:
    """A context that appends the prefix tokens that go into the first block to ``into``."""

    def look(tokens: Tokens) -> Tokens:
        into.append(tokens[:, : layout.grid.prefix].clone())
        return tokens

    block = layout.blocks[0] if layout.blocks else None
    return block_input(model, block, images.shape[0], layout.tokens, look, tokens_first=layout.tokens_first)


def _heads(model: nn.Module, image: Tensor, layout: Layout, run: Pass, scorer: Scorer) -> tuple[Head, ...]:
    """What the head reads of each stream, by the gradient that comes back from it."""
    reached = [
        (layer, (gradient != 0).any(dim=-1).flatten(0, 2).any(dim=0))
        for layer, gradient in zip(run.layers, gradients(run, scorer), strict=True)
    ]
    heads = []
    for number, stream in enumerate(layout.streams):
        of_stream = [(layer, rows) for layer, rows in reached if layer.stream == number]
        last = [rows for layer, rows in of_stream if not layer.pooling][-1]
        shares = torch.zeros(stream.tokens, device=last.device)
        shares[: len(last)] = last.float()
        pools = any(bool(rows.any()) for layer, rows in of_stream if layer.pooling)
        if not shares.any() and not pools:
            # The gradient is cut on the way, or the output depends on nothing: what is read shows without it, too.
            shares = _read_without_gradient(model, image, layout, number, scorer)
        heads.append(Head(shares / shares.sum().clamp_min(1e-12), pools))
    return tuple(heads)


def _read_without_gradient(
    model: nn.Module, image: Tensor, layout: Layout, stream: int, scorer: Scorer
) -> Float[Tensor, " tokens"]:
    """Which tokens of a stream the head reads: those whose last answer can't be changed without changing the output.

    Raises:
        ModelError: it reads some patches and not others.
    """
    tokens, grid = layout.streams[stream].tokens, layout.streams[stream].grid
    patches = torch.zeros(tokens, dtype=torch.bool)
    patches[grid.patches] = True
    shares = torch.zeros(tokens, device=image.device)
    for changed in _sets(patches):
        outputs = [scorer(read_pass(model, image, layout, stream, some)) for some in (None, changed)]
        difference = (outputs[0] - outputs[1]).abs().max()
        if difference > 1e-5 * outputs[0].abs().max():
            shares[changed] = 1.0
    read = shares[patches].sum()
    if 0 < read < patches.sum():
        raise ModelError(
            f"which tokens the head of {type(model).__name__} reads couldn't be told: no gradient comes back to "
            "them, and it reads some patches and not others"
        )
    return shares


def _sets(patches: Tensor) -> Iterator[Tensor]:
    """Each token of no place alone, and the patches in four parts."""
    for token in (~patches).nonzero().flatten():
        alone = torch.zeros_like(patches)
        alone[token] = True
        yield alone
    numbers = patches.cumsum(0) % 4
    for part in range(4):
        if bool((some := patches & (numbers == part)).any()):
            yield some

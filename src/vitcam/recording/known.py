"""What is known about a model before it is explained: found once per model and input size, then remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.blocks import Tokens, block_input
from vitcam.recording.layout import Layout, Overrides, find_layout
from vitcam.recording.output import find_logits, logits_of
from vitcam.recording.passes import Pass, detached_pass, gradients, plain_pass
from vitcam.recording.replay import replay
from vitcam.recording.score import Score, Scorer

_memory: WeakKeyDictionary[nn.Module, dict[Any, Known]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Known:
    """What is known about a model at one input size.

    Attributes:
        layout: its structure.
        replays: whether a replay of the prefix tokens alone gives the recorded logits, so that the head
            reads no other token.
        head_rows: (tokens,) the share of each token in what the head reads: equal among those that the
            gradient of the logits reaches after the last block, 0 elsewhere.
        pools: whether the head reads the tokens through an attention of its own.
    """

    layout: Layout
    replays: bool
    head_rows: Float[Tensor, " tokens"]
    pools: bool


def know(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], score: Score, given: Overrides
) -> Known:
    """Finds out, or remembers, what must be known about a model.

    Models without logits are looked at anew each time, since what counts as their head is in the score.
    """
    modules = hash(tuple(id(module) for module in model.modules()))
    key = (images.shape[1:], images.device, images.dtype, given, modules)
    remembered = _memory.setdefault(model, {})
    if key in remembered:
        return remembered[key]
    with torch.autocast(images.device.type, enabled=False):
        known, depends_on_score = _learn(model, images, score, given)
    if not depends_on_score:
        remembered[key] = known
    return known


def agree(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"], tolerance: float) -> bool:
    """Whether two computations of the same scores agree, to a tolerance given as a share of their spread."""
    if one.shape != other.shape:
        return False
    one, other = one.detach().float(), other.detach().float()
    spread = (one.amax() - one.amin()).clamp_min(1e-6 * one.abs().amax())
    return bool((one - other).abs().amax() <= tolerance * spread)


def _learn(model: nn.Module, images: Tensor, score: Score, given: Overrides) -> tuple[Known, bool]:
    layout = find_layout(model, images[:1], given)
    if layout.obstacle:
        return Known(layout, False, images.new_full((layout.tokens,), 1 / layout.tokens), False), False
    inputs: list[Tokens] = []
    with recorded_prefix(model, images[:1], layout, inputs):
        run = plain_pass(model, images[:1], layout)
    logits = find_logits(run.output)
    if logits is None:
        run = detached_pass(model, images, layout)
        scorer = score.scorer(score.targets(run.output, images.shape[0]))
        return _known(layout, True, run, scorer), True

    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(logits.shape[1], generator=generator).to(logits)
    scorer = Score(function=lambda output: logits_of(output) @ direction).scorer(None)
    replayed = replay(model, images[:1], layout, inputs[0] if inputs else None, run.layers)
    replayed_logits = None if replayed is None else find_logits(replayed.output)
    tolerance = 1e-3 if logits.dtype == torch.float32 else 5e-2
    if replayed is None or replayed_logits is None or not agree(logits, replayed_logits, tolerance):
        run = detached_pass(model, images[:1], layout)
        return _known(layout, False, run, scorer), False
    return _known(layout, True, replayed, scorer), False


def recorded_prefix(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], layout: Layout, into: list[Tokens]
) -> Any:
    """A context that appends the prefix tokens that go into the first block to ``into``."""

    def look(tokens: Tokens) -> Tokens:
        into.append(tokens[:, : layout.grid.prefix].clone())
        return tokens

    return block_input(
        model, layout.blocks[0] if layout.blocks else None, images.shape[0], layout.tokens, look
    )


def _known(layout: Layout, replays: bool, run: Pass, scorer: Scorer) -> Known:
    reached = [
        (layer.pooling, (gradient != 0).any(dim=-1).flatten(0, 2).any(dim=0))
        for layer, gradient in zip(run.layers, gradients(run, scorer), strict=True)
    ]
    last = [rows for pooling, rows in reached if not pooling][-1]
    head_rows = torch.zeros(layout.tokens, device=last.device)
    head_rows[: len(last)] = last.float()
    if head_rows.sum() == 0:
        head_rows[0 if layout.grid.prefix else layout.grid.patches] = 1.0
    pools = any(bool(rows.any()) for pooling, rows in reached if pooling)
    return Known(layout, replays, head_rows / head_rows.sum(), pools)

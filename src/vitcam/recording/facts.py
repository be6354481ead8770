"""The facts about a model that explaining needs: measured once per state and input size, then kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import Attention, with_head_dimension
from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.classifier import check_head
from vitcam.recording.follow import Followed
from vitcam.recording.head import Head, heads_of
from vitcam.recording.layout import Layout, Overrides
from vitcam.recording.passes import Pass, detached_pass, plain_pass
from vitcam.recording.replay import replay
from vitcam.recording.running import Precision
from vitcam.recording.score import Score, Scorer, find_logits, logits_of
from vitcam.recording.scout import other_tokens
from vitcam.recording.state import Memory
from vitcam.recording.structure import find_layout
from vitcam.recording.watch import change_of, logits_tolerance, tolerance, value_features


def _nothing(run: Pass) -> None:
    """The confirmation that is left to do for a model whose facts are confirmed."""


@dataclass(frozen=True)
class Facts:
    """What was measured of a model at one input size.

    Attributes:
        layout: its structure.
        replays: whether a replay of the prefix tokens alone gives the recorded logits, so that the head
            reads no other token.
        heads: what the head reads of each stream.
        headless: why what looks like logits is none; "" if it is.
        confirm: to be called with the next pass, where :func:`facts_of` was told that there is one.
    """

    layout: Layout
    replays: bool
    heads: tuple[Head, ...]
    headless: str
    confirm: Callable[[Pass], None] = _nothing

    @property
    def head_rows(self) -> Float[Tensor, " tokens"]:
        """The share of each token of the first stream in what the head reads."""
        return self.heads[0].rows

    @property
    def pools(self) -> bool:
        """Whether the head reads the tokens of the first stream through an attention of its own."""
        return self.heads[0].pools


_memory: Memory[Facts] = Memory()


def facts_of(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    score: Score,
    overrides: Overrides,
    inputs: Inputs = NO_INPUTS,
    *,
    confirmed: bool = True,
) -> Facts:
    """Measures, or remembers, the facts about a model that is given these inputs besides the images.

    Models without logits are looked at anew each time, since what counts as their head is in the score. That the
    image gives the same once more is checked here, or, not ``confirmed`` yet, by ``confirm`` of what is returned.
    """
    remembered = _memory.of(model, images, inputs, overrides)
    if remembered.value is not None:
        return remembered.value
    # The first image alone is looked at, with inputs of its own.
    with torch.autocast(images.device.type, enabled=False), bound(model, inputs.of(0, 1)):
        facts, depends_on_score = _measured(model, images, score, overrides, inputs)
        # A head of zeros may be trained.
        is_lasting = not depends_on_score and all(head.pools or bool(head.rows.any()) for head in facts.heads)

        def remember() -> Facts:
            settled = replace(facts, confirm=_nothing)
            if is_lasting:
                remembered.keep(settled)
            return settled

        def confirm(run: Pass) -> None:
            facts.confirm(run)
            remember()

        if facts.confirm is _nothing:
            return remember()
        if not confirmed:
            return replace(facts, confirm=confirm)
        with given_to(model, facts.layout, inputs.of(0, 1)):
            facts.confirm(plain_pass(model, images[:1], facts.layout))
        return remember()


@contextlib.contextmanager
def given_to(model: nn.Module, layout: Layout, inputs: Inputs) -> Iterator[Inputs]:
    """Inside the ``with`` each pass gets what its model needs besides the images: copies of them, should it write."""
    inputs = replace(inputs, copied=layout.writes_images)
    with bound(model, inputs):
        yield inputs


def scores_agree(
    run: Pass, replayed: Pass, score: Score, scorer: Scorer, layout: Layout, precision: Precision
) -> bool:
    """Whether a replay gives the logits of its pass, or the scores where these aren't of logits.

    Args:
        run, replayed: the pass and its replay.
        score, scorer: the scores.
        layout, precision: the structure, and what the passes computed in.
    """
    logits, again = find_logits(run.output), find_logits(replayed.output)
    if logits is None or again is None or not score.of_logits:
        logits = scorer(run.output)
        try:
            again = scorer(replayed.output)
        except Exception:  # a function of the output may ask for tokens that the replay doesn't have
            return False
    lowest = layout.dtype if precision == "fp32" else torch.bfloat16
    return logits_agree(logits, again, logits_tolerance(lowest))


def logits_agree(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether two sets of logits are the same, up to a share of their spread."""
    if one.shape != other.shape:
        return False
    one, other = one.detach().float(), other.detach().float()
    spread = one.max() - one.min() if one.shape[-1] > 1 else one.abs().max()
    return bool((one - other).abs().amax() <= share * spread)


def _measured(
    model: nn.Module, images: Tensor, score: Score, overrides: Overrides, inputs: Inputs
) -> tuple[Facts, bool]:
    image = images[:1]
    try:
        layout, followed = find_layout(model, image, overrides)
    except ModelError as error:
        if len(images) > 1 and _takes(model, images) and not _takes(model, image):
            raise ModelError(
                f"{type(model).__name__} takes {len(images)} images at a time and not one, so that its structure "
                "can't be measured. Give a model that takes one image"
            ) from error
        raise
    with given_to(model, layout, inputs.of(0, 1)):
        return _facts_about_head(model, images, score, layout, followed)


def _facts_about_head(
    model: nn.Module, images: Tensor, score: Score, layout: Layout, followed: Followed
) -> tuple[Facts, bool]:
    image = images[:1]
    logits = find_logits(followed.output)
    headless = "" if logits is None else _headless(model, logits, followed)
    if layout.obstacle:
        evenly = Head(images.new_full((layout.tokens,), 1 / layout.tokens), False)
        return Facts(layout, False, (evenly,), headless), False
    if logits is None:
        looked_at = images if layout.together else image
        run = detached_pass(model, looked_at, layout)
        scorer = score.scorer(score.targets(run.output, len(looked_at)))
        return Facts(
            layout, _may_replay(layout), heads_of(model, looked_at, layout, run, scorer), headless
        ), True
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(logits.shape[1], generator=generator).to(logits)
    scorer = Score(function=lambda output: logits_of(output) @ direction).scorer(None)
    if _may_replay(layout):
        entered = followed.entered.get(layout.blocks[0])
        prefix = entered[0][:, : layout.grid.prefix] if entered else None
        replayed = replay(model, image, layout, prefix, _layers_of_image(layout, followed))
        replayed_logits = None if replayed is None else find_logits(replayed.output)
        allowed = logits_tolerance(followed.behaviour.dtype)
        if (
            replayed is not None
            and replayed_logits is not None
            and logits_agree(logits[:1], replayed_logits, allowed)
        ):
            heads = heads_of(model, image, layout, replayed, scorer)
            return Facts(layout, True, heads, headless, partial(_check_same, model, followed)), False
    run = detached_pass(model, image, layout)
    _check_same(model, followed, run)
    return Facts(layout, False, heads_of(model, image, layout, run, scorer), headless), False


def _layers_of_image(layout: Layout, followed: Followed) -> list[Attention]:
    """The layers of the image as it is, as they were seen when the model was followed."""
    layers = []
    for site, (call, answer) in zip(layout.calls, followed.image_calls, strict=True):
        if site.stream is not None:
            by_head = with_head_dimension(call, 1)
            output = answer.reshape(*by_head.query.shape[:-1], answer.shape[-1])
            layers.append(Attention(site.name, site.pools, by_head, output, stream=site.stream))
    return layers


def _check_same(model: nn.Module, followed: Followed, run: Pass) -> None:
    """Makes sure that a pass gives its first image what it was given, and the same tokens, when it was followed."""
    logits, before = logits_of(run.output), logits_of(followed.output)[:1]
    if not (logits.isfinite().all() and before.isfinite().all()):
        return  # which is said when they are used
    same = logits_agree(before, logits[:1], logits_tolerance(followed.behaviour.dtype))
    if run.layers:
        # What is kept of a layer may leave out its keys; its values it doesn't.
        values = value_features(run.layers[0].call, len(logits))[0]
        first = followed.first[:, -values.shape[1] :]
        same = same and values.shape == first.shape
        same = same and not bool((change_of(values, first) > 10 * tolerance(followed.behaviour.dtype)).any())
    if not same:
        raise other_tokens(model)


def _headless(model: nn.Module, logits: Tensor, followed: Followed) -> str:
    try:
        check_head(model, logits, followed.lineage)
    except ModelError as error:
        return str(error)
    return ""


def _takes(model: nn.Module, images: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(images.clone())
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

"""The recording: one forward pass of a model, and what goes back through it, shared by all methods."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import Attention, first_rows
from vitcam.recording.blocks import Tokens
from vitcam.recording.known import Known, agree, know, recorded_prefix, replay
from vitcam.recording.layout import Layout, Overrides
from vitcam.recording.output import find_logits
from vitcam.recording.passes import (
    Gradient,
    Pass,
    detached_pass,
    gradients,
    plain_pass,
    tracked_pass,
)
from vitcam.recording.preserved import preserved
from vitcam.recording.score import Score, Scorer

Item = TypeVar("Item")
Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Need(enum.Flag):
    """What a method needs from a recording. It gets this and nothing more."""

    NOTHING = 0
    MAPS = enum.auto()  # every query row of the attention layers
    SKIP_GRADIENT = enum.auto()  # ∂y/∂O along the skip connections only, and the query rows it reaches
    GRADIENT = enum.auto()  # ∂y/∂O, the ordinary one; comes with every query row


@dataclass(frozen=True)
class Recording:
    """One forward pass of a batch, and the gradients that its methods asked for.

    Attributes:
        model: the model, for methods that make passes of their own.
        images: what it ran on, normalised.
        layout: the structure of the model. If it has an ``obstacle``, no attention and no gradients are
            recorded.
        layers: its attention layers, in the order of the calls; without any that the head doesn't read.
        logits: (batch, classes); None if the model gives none and a function gave the scores.
        targets: (batch, targets), the classes explained; -1 where a function gave the score.
        head_rows: (tokens,) the share of each token in what the head reads; sums to 1. A model with a
            class token has a single 1, one that averages its patches 1/N for each.
        pools: whether the last layer is an attention that pools the tokens for the head.
        skip_gradients: per layer ∂y/∂O (batch, targets, heads, rows, dim), attention inputs detached;
            ``rows`` may be the prefix tokens only, where all others are exactly zero. None if not asked for.
        gradients: the same for the ordinary gradient, all rows. None if not asked for.
        replayed: whether the skip gradients came from a replay of the prefix tokens.
    """

    model: nn.Module
    images: Float[Tensor, "batch channels height width"]
    layout: Layout
    layers: tuple[Attention, ...]
    logits: Float[Tensor, "batch classes"] | None
    targets: Int[Tensor, "batch targets"]
    head_rows: Float[Tensor, " tokens"]
    pools: bool
    skip_gradients: tuple[Gradient, ...] | None
    gradients: tuple[Gradient, ...] | None
    replayed: bool


def record(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    score: Score,
    needs: Need,
    *,
    precision: Precision = "fp32",
    given: Overrides | None = None,
    allow_replay: bool = True,
) -> Recording:
    """Runs a model on a batch and records what methods need.

    Args:
        model: any ViT; left exactly as it was.
        images: normalised, on the model's device.
        score: which scores to explain.
        needs: what to record.
        precision: of the forward pass; "bf16" and "fp16" by autocast.
        given: structure given by the user instead of being found.
        allow_replay: False forbids the replay on prefix tokens, so that all tokens take part; same maps, more work.

    Raises:
        ModelError: the model calls no attention, its tokens don't fit a grid, its output isn't finite, or
            the score doesn't depend on any attention layer.

    Example:
        >>> recording = record(model, images, Score(lambda logits: logits.argmax(1, True)), Need.SKIP_GRADIENT)
        >>> recording.skip_gradients[0].shape
        torch.Size([8, 1, 12, 1, 64])
    """
    images = images.to(next((p.dtype for p in model.parameters()), images.dtype))
    with preserved(model), _autocast(images.device, precision):
        known = know(model, images, score, given or Overrides())
        if known.layout.obstacle:
            needs = Need.NOTHING
        recorder = _Recorder(model, images, score, needs, known, precision)
        return (
            recorder.with_replay() if allow_replay and known.replays else None
        ) or recorder.with_all_tokens()


@dataclass(frozen=True)
class _Recorder:
    model: nn.Module
    images: Float[Tensor, "batch channels height width"]
    score: Score
    needs: Need
    known: Known
    precision: Precision

    def with_replay(self) -> Recording | None:
        """The skip gradients by a replay; None if this batch's replay disagrees with its forward pass."""
        layout, inputs = self.known.layout, list[Tokens]()
        with recorded_prefix(self.model, self.images, layout, inputs):
            run = self._forward(keep_rows=layout.grid.prefix)
        targets, scorer = self._targets(run)
        if not self.needs & Need.SKIP_GRADIENT:
            return self._recording(run, targets, scorer, None, replayed=False)
        replayed = replay(self.model, self.images[:1], layout, inputs[0] if inputs else None, run)
        if replayed is None or not self._same(run, replayed, scorer):
            return None
        return self._recording(run, targets, scorer, gradients(replayed, scorer), replayed=True)

    def with_all_tokens(self) -> Recording:
        """The skip gradients by a forward pass of all tokens with detached attention."""
        layout = self.known.layout
        wants_skip = bool(self.needs & Need.SKIP_GRADIENT)
        if wants_skip and not self.needs & Need.GRADIENT:
            run = detached_pass(self.model, self.images, layout)
            targets, scorer = self._targets(run)
            return self._recording(run, targets, scorer, gradients(run, scorer), replayed=False)
        run = self._forward(keep_rows=None)
        targets, scorer = self._targets(run)
        skip = gradients(detached_pass(self.model, self.images, layout), scorer) if wants_skip else None
        return self._recording(run, targets, scorer, skip, replayed=False)

    def _forward(self, keep_rows: int | None) -> Pass:
        layout = self.known.layout
        if not self.needs:
            with torch.no_grad():
                return Pass(self.model(self.images), ())
        if self.needs & Need.GRADIENT:
            return tracked_pass(self.model, self.images, layout)
        if self.needs & Need.MAPS or keep_rows is None:
            return plain_pass(self.model, self.images, layout)
        return plain_pass(self.model, self.images, layout, partial(first_rows, rows=keep_rows))

    def _targets(self, run: Pass) -> tuple[Int[Tensor, "batch targets"], Scorer]:
        logits = find_logits(run.output)
        if logits is not None and not logits.isfinite().all():
            bad = (~logits.isfinite()).any(dim=1).nonzero().flatten().tolist()
            raise ModelError(
                f"{type(self.model).__name__} gave logits that aren't finite (NaN or infinite) for image "
                f"{bad[0]} of the batch; check its weights, the normalisation of the images and the precision"
            )
        targets = self.score.targets(run.output, self.images.shape[0])
        return targets, self.score.scorer(targets)

    def _same(self, run: Pass, replayed: Pass, scorer: Scorer) -> bool:
        logits, again = find_logits(run.output), find_logits(replayed.output)
        if logits is None or again is None:
            logits, again = scorer(run.output), scorer(replayed.output)
        exact = self.precision == "fp32" and logits.dtype == torch.float32
        return agree(logits, again, 1e-3 if exact else 5e-2)

    def _recording(
        self,
        run: Pass,
        targets: Tensor,
        scorer: Scorer,
        skip_gradients: tuple[Gradient, ...] | None,
        replayed: bool,
    ) -> Recording:
        all_gradients = gradients(run, scorer) if self.needs & Need.GRADIENT else None
        for found in (skip_gradients, all_gradients):
            if found is not None:
                _check_reached(found, targets)
        logits = find_logits(run.output)
        return Recording(
            model=self.model,
            images=self.images,
            layout=self.known.layout,
            layers=tuple(replace(layer, output=layer.output.detach()) for layer in self._read(run.layers)),
            logits=None if logits is None else logits.detach().float(),
            targets=targets,
            head_rows=self.known.head_rows,
            pools=self.known.pools,
            skip_gradients=None if skip_gradients is None else self._read(skip_gradients),
            gradients=None if all_gradients is None else self._read(all_gradients),
            replayed=replayed,
        )

    def _read(self, per_layer: Sequence[Item]) -> tuple[Item, ...]:
        """Without a pooling attention that the head doesn't read, though the model computes it."""
        unread = frozenset[str]() if self.known.pools else self.known.layout.pooling
        names = self.known.layout.callers
        return tuple(item for item, name in zip(per_layer, names, strict=False) if name not in unread)


def _autocast(device: torch.device, precision: Precision) -> Any:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def _check_reached(found: tuple[Gradient, ...], targets: Int[Tensor, "batch targets"]) -> None:
    reached = torch.stack([gradient.flatten(2).abs().amax(dim=2) for gradient in found]).amax(dim=0) > 0
    if not reached.all():
        image, target = (~reached).nonzero()[0].tolist()
        index = int(targets[image, target])
        what = "the score that `targets` computes" if index < 0 else f"the logit of class {index}"
        raise ModelError(
            f"the gradient of {what} is exactly zero at every attention layer (image {image} of the batch), so "
            "there is nothing to explain. Is the head initialised with zeros, or does the score not depend on "
            "the image?"
        )

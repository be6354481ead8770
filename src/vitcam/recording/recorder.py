"""Makes recordings: the passes that the needs of the methods ask for, each of them once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError, OneByOneError
from vitcam.recording.attention import first_rows
from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.blocks import recorded_blocks, recorded_input
from vitcam.recording.facts import Facts, facts_of, given_to, scores_agree
from vitcam.recording.feature_hooks import recorded_features
from vitcam.recording.features import FeatureNeed, features_of, wanted_points
from vitcam.recording.gradients import Gradient, check_reached, gradients, layer_gradients, why_unreached
from vitcam.recording.head import Head, heads_of
from vitcam.recording.interception import Linear
from vitcam.recording.layout import Overrides
from vitcam.recording.onednn import linear_layer
from vitcam.recording.passes import Pass, detached_pass, plain_pass, tracked_pass, unrecorded_pass
from vitcam.recording.points import Point
from vitcam.recording.recording import Need, Recording
from vitcam.recording.replay import LinearRows, replay, replayed_gradients
from vitcam.recording.rules import Rules
from vitcam.recording.running import Precision, Way, check_model, first_that_works, running
from vitcam.recording.score import Score, Scorer, find_logits
from vitcam.recording.token_gradients import gradients_of_pass, in_front
from vitcam.recording.tokens import TokenPlaces, recorded_places

Item = TypeVar("Item")
_LAYERWISE = Need.LAYER_GRADIENT | Need.MEAN_LAYER_GRADIENT
# What takes a pass that gradients can go all the way through, attention included.
_ORDINARY = Need.GRADIENT | Need.TOKENS | _LAYERWISE


def record(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    score: Score,
    needs: Need,
    *,
    precision: Precision = "fp32",
    given: Overrides | None = None,
    allow_replay: bool = True,
    compile: bool = False,
    inputs: Inputs = NO_INPUTS,
    features: Sequence[FeatureNeed] = (),
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
        compile: whether the forward pass is compiled, where no gradient goes back through it.
        inputs: what the model is given besides the images, of these images.
        features: which feature maps to record.

    Raises:
        ModelError: the model can't be looked into, calls no attention, which token is which place of the image
            couldn't be confirmed, its output isn't finite, the score doesn't depend on any attention layer, or the
            model can't be compiled.
        MethodError: the model has no such point as one whose feature map is asked for.
        OneByOneError: a ModelError; there are several images, and the model takes them one by one.

    Example:
        >>> score = Score(choose=lambda logits: logits.topk(5).indices)
        >>> recording = record(model, images, score, Need.SKIP_GRADIENT)
        >>> len(recording.layers), recording.targets.shape, recording.replayed
        (12, torch.Size([8, 5]), True)
    """
    check_model(model)
    images = images.detach()
    if images.is_inference():  # autograd takes no such tensor, but a copy of it
        images = images.clone()
    given = given or Overrides()
    wanted = tuple(dict.fromkeys((*features, *([FeatureNeed()] if needs & Need.BLOCK_NORM else []))))

    def recorded(way: Way) -> Recording:
        taken = images.to(way.dtype)
        more = inputs if way.dtype == images.dtype else inputs.to_dtype(way.dtype)
        with (
            running(model, images.device, precision, fused=way.fused, compile=compile),
            bound(model, more),
        ):
            facts = facts_of(model, taken, score, given, more, confirmed=precision != "fp32")
            if not facts.layout.together and len(images) > 1:
                raise OneByOneError(
                    f"{type(model).__name__} takes images one by one: of a batch it can't be told what belongs to "
                    "which image. Give one image, or batch_size=1"
                )
            some = Need.NOTHING if facts.layout.obstacle else needs
            with given_to(model, facts.layout, more) as more:
                recorder = _Recorder(
                    model, taken, score, some, facts, precision, compile, way.fused, more, wanted
                )
                return (
                    recorder.with_replay() if allow_replay and facts.replays else None
                ) or recorder.with_all_tokens()

    return first_that_works(model, images, recorded, inputs)


@dataclass(frozen=True)
class _Recorder:
    model: nn.Module
    images: Float[Tensor, "batch channels *space"]
    score: Score
    needs: Need
    facts: Facts
    precision: Precision
    compile: bool
    fused: bool
    inputs: Inputs
    features: tuple[FeatureNeed, ...]
    rules: Rules | None = None

    def with_replay(self) -> Recording | None:
        """The skip gradients by a replay; None if that of this batch disagrees, or it takes several passes."""
        layout, batch = self.facts.layout, len(self.images)
        prefix, rows = layout.grid.prefix, LinearRows(layout, batch)
        first_input = recorded_input(
            self.model,
            layout.blocks[0],
            batch,
            layout.tokens,
            lambda tokens: tokens[:, :prefix],
            tokens_first=layout.tokens_first,
        )
        with first_input as entered:
            run = self._forward(prefix, rows.record)
        if self._in_front(run):
            return None
        targets, versus, scorer = self._targets(run)
        if not self.needs & Need.SKIP_GRADIENT:
            return self._recording(run, targets, versus, scorer, None)
        # A model without logits has never been replayed in full, so that its replay has yet to prove itself.
        linear = F.linear if find_logits(run.output) is None else rows.answers()
        # Of inputs with a row per image each image needs its own; else any one of the images will do.
        images = self.images if self.inputs.per_image else self.images[:1]
        replayed = replay(self.model, images, layout, entered[0] if entered else None, run.layers, linear)
        if replayed is None or not scores_agree(run, replayed, self.score, scorer, layout, self.precision):
            return None
        skip = replayed_gradients(replayed, scorer)
        return self._recording(run, targets, versus, scorer, skip, replayed=replayed)

    def with_all_tokens(self) -> Recording:
        """The skip gradients by a forward pass of all tokens with detached attention."""
        detached = partial(detached_pass, self.model, self.images, self.facts.layout, self.rules)
        wants_skip = bool(self.needs & Need.SKIP_GRADIENT)
        if wants_skip and not self.needs & _ORDINARY and not self.features and self.rules is None:
            run = detached()
            targets, versus, scorer = self._targets(run)
            return self._recording(run, targets, versus, scorer, gradients(run, scorer))
        run = self._forward()
        if front := self._in_front(run):
            alone = replace(self, needs=Need.NOTHING, features=front)
            apart = alone._recording(run, *self._targets(run), None)
            rest = tuple(each for each in self.features if each not in front)
            behind = replace(self, features=rest).with_all_tokens()
            return replace(behind, features={**behind.features, **apart.features})
        targets, versus, scorer = self._targets(run)
        skip = gradients(detached(), scorer) if wants_skip else None
        return self._recording(run, targets, versus, scorer, skip)

    def _in_front(self, run: Pass) -> tuple[FeatureNeed, ...]:
        """Feature maps in front of the first block, for which all else would see the graph begin too early."""
        front = in_front(self.features, run)
        return front if self.needs or front != self.features else ()

    def again(
        self, targets: Tensor, versus: Tensor | None, images: Tensor, features: Sequence[FeatureNeed]
    ) -> Recording:
        """Feature maps of other images, scored by the classes that are settled."""
        return self._changed(targets, versus, images=images, needs=Need.NOTHING, features=tuple(features))

    def once_more(
        self,
        targets: Tensor,
        versus: Tensor | None,
        needs: Need,
        features: Sequence[FeatureNeed],
        rules: Rules,
    ) -> Recording:
        """The same images and classes, with gradients that come back by rules."""
        needs = Need.NOTHING if self.facts.layout.obstacle else needs
        return self._changed(targets, versus, needs=needs, features=tuple(features), rules=rules)

    def _changed(self, targets: Tensor, versus: Tensor | None, **changes: Any) -> Recording:
        other = replace(self, score=self.score.settled(targets, versus), **changes)
        with self._resumed(), given_to(self.model, self.facts.layout, self.inputs):
            return other.with_all_tokens()

    def _forward(self, keep_rows: int | None = None, linear: Linear = linear_layer) -> Pass:
        """The ordinary forward pass, with what the needs ask for and no more."""
        if self.rules is None or (self.facts.layout.blocks and not self.facts.layout.obstacle):
            run = self._recorded_pass(self.images, keep_rows, linear)
            if self.rules is None or (run.places and run.places.leaves):
                return run
        run = self._recorded_pass((leaf := self.images.clone().requires_grad_()).clone(), keep_rows, linear)
        return replace(run, places=TokenPlaces([leaf], run.places.early if run.places else []))

    def _recorded_pass(self, images: Tensor, keep_rows: int | None, linear: Linear) -> Pass:
        model, layout, needs = self.model, self.facts.layout, self.needs
        features, blocks, places = dict[Point, Tensor](), dict[str, Any](), None
        with contextlib.ExitStack() as recorded:
            if wanted := wanted_points(self.features):
                features = recorded.enter_context(recorded_features(model, layout, len(images), wanted))
            if needs & _LAYERWISE:
                blocks = recorded.enter_context(recorded_blocks(model, layout.blocks))
            if needs & Need.TOKENS or self.rules is not None:
                names = layout.blocks if needs & Need.TOKENS else ()
                places = recorded.enter_context(recorded_places(model, layout, len(images), names))
            run = self._pass(images, keep_rows, linear)
        return replace(run, features=features, blocks=blocks, places=places)

    def _pass(self, images: Tensor, keep_rows: int | None, linear: Linear) -> Pass:
        model, layout, needs = self.model, self.facts.layout, self.needs
        if needs & (_ORDINARY if self.rules is None else _ORDINARY | Need.MAPS | Need.SKIP_GRADIENT):
            return tracked_pass(model, images, layout, linear, rules=self.rules)
        if needs & (Need.MAPS | Need.SKIP_GRADIENT):
            run = self._untracked_pass(linear)
            if keep_rows is None or needs & Need.MAPS:
                return run(model, images, layout)
            return run(model, images, layout, partial(first_rows, rows=keep_rows))
        return unrecorded_pass(model, images, self.rules)

    def _untracked_pass(self, linear: Linear) -> Callable[..., Pass]:
        if not self.compile or self.features or self.facts.layout.written_over:
            return partial(plain_pass, linear=linear)
        from vitcam.recording.compiled import compiled_pass  # the compiler takes seconds to import

        return compiled_pass

    def _targets(
        self, run: Pass
    ) -> tuple[Int[Tensor, "batch targets"], Int[Tensor, "batch targets"] | None, Scorer]:
        self.facts.confirm(run)
        logits = find_logits(run.output)
        if self.facts.headless and self.score.of_logits:
            raise ModelError(self.facts.headless)
        if logits is not None and not logits.isfinite().all():
            bad = (~logits.isfinite()).any(dim=1).nonzero().flatten().tolist()
            raise ModelError(
                f"{type(self.model).__name__} gave logits that aren't finite (NaN or infinite) for image "
                f"{bad[0]} of the batch; check its weights, the normalisation of the images and the precision"
            )
        targets = self.score.targets(run.output, self.images.shape[0])
        versus = self.score.against(run.output, targets)
        return targets, versus, self.score.scorer(targets, versus)

    def _recording(
        self,
        run: Pass,
        targets: Tensor,
        versus: Tensor | None,
        scorer: Scorer,
        skip_gradients: tuple[Gradient, ...] | None,
        replayed: Pass | None = None,
    ) -> Recording:
        heads = self._heads(run, scorer)
        layerwise = (self.model, self.images, self.facts.layout, run, scorer, self._resumed, self.rules)
        of_layers, of_means = (
            layer_gradients(*layerwise, pools=heads[0].pools, mean=mean) if self.needs & need else None
            for need, mean in ((Need.LAYER_GRADIENT, False), (Need.MEAN_LAYER_GRADIENT, True))
        )
        wanted = (bool(self.needs & need) for need in (Need.GRADIENT, Need.BIASES, _LAYERWISE))
        classes = targets if self.score.of_logits else torch.full_like(targets, -1)
        ordinary, of_features, tokens = gradients_of_pass(
            *(self.model, self.facts.layout, run, scorer, self.rules, self.features, classes, versus), *wanted
        )
        features = features_of(
            *(self.model, self.images, self.facts.layout, self.inputs, run, of_features, self.features)
        )
        why = why_unreached(self.model, replace(replayed or run, cut=run.cut), scorer)
        for tensors in (skip_gradients, ordinary, tuple(of_features.values())):
            if tensors:
                check_reached(tensors, targets, why, self.score.called)
        for pairs in (of_layers, of_means):
            if pairs:
                check_reached((gradient for _, gradient in reversed(pairs)), targets, why, self.score.called)
        if run.cut and (skip_gradients or ordinary or of_layers or of_means):  # of some layers, if not of all
            raise ModelError(f"{why}. attention and rollout need no gradient and work on it")
        logits, layout = find_logits(run.output), self.facts.layout
        known = [each.grid for each in features.values() if each.grid is not None]
        if layout.obstacle and known:  # of the tokens that aren't followed, those that are known
            layout = replace(layout, grid=known[0])
        return Recording(
            model=self.model,
            images=self.images,
            layout=layout,
            layers=tuple(
                replace(layer, output=layer.output.detach()) for layer in self._read(run.layers, heads)
            ),
            logits=None if logits is None else logits.detach().float(),
            targets=targets,
            heads=heads,
            skip_gradients=None if skip_gradients is None else self._read(skip_gradients, heads),
            gradients=None if ordinary is None else self._read(ordinary, heads),
            features=features,
            layer_gradients=of_layers,
            mean_layer_gradients=of_means,
            token_gradients=tokens,
            rules="plain" if self.rules is None else self.rules.name,
            replayed=replayed is not None,
            score=self.score,
            precision=self.precision,
            once_more=partial(self.once_more, targets, versus),
            fused=self.fused,
            inputs=self.inputs,
            versus=versus,
            table=None if self.score.described is None else self.score.read(run.output).detach().float(),
            again=partial(self.again, targets, versus),
        )

    def _heads(self, run: Pass, scorer: Scorer) -> tuple[Head, ...]:
        """What the score reads of each stream: what the logits do, unless a function takes more of the output."""
        if not self.score.reads_more_than_logits(run.output):
            return self.facts.heads
        layout = self.facts.layout
        if layout.obstacle or find_logits(run.output) is None:  # those were looked at by the score itself
            return self.facts.heads
        seen = detached_pass(self.model, self.images, layout)
        return heads_of(self.model, self.images, layout, seen, scorer)

    @contextlib.contextmanager
    def _resumed(self) -> Iterator[None]:
        with (
            running(self.model, self.images.device, self.precision, fused=self.fused),
            bound(self.model, self.inputs),
        ):
            yield

    def _read(self, per_layer: Sequence[Item], heads: Sequence[Head]) -> tuple[Item, ...]:
        """What belongs to the layers that the head reads; a model may compute a pooling attention that it doesn't."""
        sites = self.facts.layout.layers
        read = [not site.pools or heads[site.stream or 0].pools for site in sites]
        return tuple(item for item, is_read in zip(per_layer, read, strict=False) if is_read)

"""Runs a model on changed copies of an image, to see which attention calls are layers of its stream of tokens.

Tokens mix in attention. Where every attention is answered by its own values instead (each token attends to itself
alone), they don't mix at all: a change of the image stays in the tokens of the places that were changed, through
all layers. So each call shows whether the image reaches its keys, in which order, and whether anything else has mixed
them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall
from vitcam.recording.blocks import recorded_input
from vitcam.recording.classifier import Lineage
from vitcam.recording.layout import Behaviour, Image
from vitcam.recording.obstacles import SeenCall
from vitcam.recording.running import explain_failure
from vitcam.recording.scout import Scouted, other_calls
from vitcam.recording.upstream import IMAGE, Unseen, Upstream
from vitcam.recording.watch import (
    Rows,
    Watch,
    answer_apart,
    change_of,
    first_of,
    has_own_queries,
    query_features,
    stand_elsewhere,
    tolerance,
    unlike,
    unmixed,
    windows_of,
)

UNCHANGED_ROWS = 1  # how many rows of a followed pass are attended to as the model does


@dataclass
class Followed:
    """A pass of an image as it is, and of copies in which no token is mixed with another.

    Attributes:
        calls: every attention call.
        output: what the model gave for the image.
        tokens_first: whether tokens are laid out as (tokens, batch, channels) more often than not.
        lineage: how the output was made.
        first: keys and values of the image at the first call that it reaches.
        image_calls: each call as the image alone makes it, with its answer; () of models that take images one by one.
        entered: the image's tokens in front of what may be the first block, by that block's name; likewise, and ()
            of a block that wasn't called.
        behaviour: what the model was seen to do.
        unseen: attention that isn't among the calls: how many calls stand before it, and the module that makes it.
    """

    calls: list[SeenCall]
    output: Any
    tokens_first: bool
    lineage: Lineage
    first: Float[Tensor, "tokens features"]
    image_calls: Sequence[tuple[AttentionCall, Tensor]]
    entered: Mapping[str, Sequence[Tensor]]
    behaviour: Behaviour
    unseen: Sequence[tuple[int, str]]


def follow(
    model: nn.Module, image: Image, copies: Rows, scouted: Scouted, chosen: Bool[Tensor, " tokens"]
) -> Followed:
    """Runs the image as it is, and unmixed with changed copies of it, through the whole model.

    Once more the image goes unmixed, while every call answers the chosen tokens otherwise.
    """
    if len(copies) + 3 == scouted.tokens:  # or it couldn't be told which axis is which
        copies = torch.cat([copies, copies[-1:]])
    rows = torch.cat([image, image, copies, image])
    together = scouted.together
    tokens_first, lineage, first = 0, Lineage(), list[Tensor]()
    seen: list[SeenCall] = []
    behaviour = Behaviour(dtype=scouted.dtype)
    allowed = tolerance(scouted.dtype)
    parts: list[list[tuple[AttentionCall, Tensor, Tensor | None]]] = []
    outputs = []
    image_calls: list[tuple[AttentionCall, Tensor]] = []
    entered: dict[str, Sequence[Tensor]] = {}
    unseen: list[tuple[int, str]] = []
    for start, part in enumerate(rows.split(len(rows) if together else 1)):
        watch, upstream = Watch(model, len(part)), Upstream()
        upstream.mark(part, {IMAGE})
        seeker = Unseen(upstream, watch.place)
        calls_of_part: list[tuple[AttentionCall, Tensor, Tensor | None]] = []

        def attend(
            call: AttentionCall,
            features: Tensor | None,
            index: int,
            *,
            start: int = start,
            upstream: Upstream = upstream,
            watch: Any = watch,
            calls_of_part: list[Any] = calls_of_part,
        ) -> Tensor:
            above = _above(call, upstream)
            if features is None:
                changes = rows.new_zeros(len(copies) + 1, call.value.shape[-2])
                seen.append(_seen(call, watch.stack, above, changes, False, 1))
                output = answer_apart(call, upstream)
                upstream.mark(output, above.all | {index})
                image_calls.append((call, output))
                return output
            if index == scouted.first and not start:
                first.append(features[0])
            queries = query_features(call, len(features))
            own_queries = call.query.shape[-2] != features.shape[1] // windows_of(call, len(features))
            if together:
                changes = change_of(features[2:], features[1])
                reaches = bool(changes.max() > allowed)
                own_queries = own_queries or has_own_queries(call, queries, changes[:-1])
                elsewhere = reaches and stand_elsewhere(call, queries, changes[:-1])
                seen.append(_seen(call, watch.stack, above, changes, own_queries, len(features), elsewhere))
            else:
                reaches = index >= scouted.first
                calls_of_part.append((call, features, queries))
                if not start:
                    seen.append(_seen(call, watch.stack, above, features[:1, :, 0], own_queries, 1))
            mixed = UNCHANGED_ROWS if together else int(not start)
            output = unmixed(call, features, mixed, own_queries) if reaches else call.run()
            if together:
                image_calls.append((first_of(call, 1, len(features)), output[: len(output) // len(features)]))
            last = start + len(features) == len(rows)
            if reaches and last and not own_queries and output.shape[-2] == len(chosen):
                output[-(len(output) // len(features)) :, ..., chosen, :] += output.std()
            upstream.mark(output, above.all | {index})
            return output

        with contextlib.ExitStack() as watched:
            if together:
                for block, *_ in scouted.blocks(model):
                    recorded = recorded_input(
                        model, block, len(part), scouted.tokens, lambda rows: rows[:UNCHANGED_ROWS]
                    )
                    entered[block] = watched.enter_context(recorded)
            if not start:
                watched.enter_context(lineage)
            try:
                outputs.append(watch.run(part, attend, seeker.see))
            except Exception as error:  # of the model, behind the first attention, up to which it was scouted
                raise explain_failure(model, part, error) from error
        if not start:
            unseen = seeker.calls
        behaviour = behaviour.joined(watch.behaviour)
        parts.append(calls_of_part)
        tokens_first += watch.laid[scouted.tokens, len(part)] - watch.laid[len(part), scouted.tokens]
    if not together:
        seen = _compared(model, seen, parts)
    if not first:
        raise other_calls(model)
    return Followed(
        seen,
        outputs[0],
        tokens_first > 0,
        lineage,
        first[0],
        image_calls,
        entered,
        behaviour,
        unseen,
    )


def _compared(
    model: nn.Module, seen: list[SeenCall], parts: Sequence[list[tuple[Any, Tensor, Any]]]
) -> list[SeenCall]:
    """The calls of rows that were run one after the other, with the changes between them."""
    if len({len(part) for part in parts}) != 1:
        raise ModelError(
            f"{type(model).__name__} makes {' or '.join(str(len(part)) for part in parts)} attention calls, "
            "depending on what is in the image, so that its layers can't be told"
        )
    compared = []
    for index, call in enumerate(seen):
        rows = [part[index] for part in parts]
        shapes = {features.shape for _, features, _ in rows}
        if len(shapes) != 1:
            raise ModelError(
                f"{type(model).__name__} has another number of tokens for another image of the same size, so that "
                "its tokens can't be told"
            )
        changes = change_of(torch.cat([features for _, features, _ in rows[2:]]), rows[1][1][0])
        own_queries, elsewhere = call.own_queries, False
        if not call.eager:
            queries = torch.cat([queries for _, _, queries in rows])
            own_queries = own_queries or unlike(change_of(queries[2:-1], queries[1]), changes[:-1])
            elsewhere = stand_elsewhere(rows[0][0], queries, changes[:-1])
        compared.append(
            replace(
                call, changes=changes[:-1], stirred=changes[-1], own_queries=own_queries, elsewhere=elsewhere
            )
        )
    return compared


class _Above(NamedTuple):
    """The earlier calls that a call was computed from; see :class:`SeenCall`."""

    all: frozenset[int]
    queries: frozenset[int]
    keys: frozenset[int]
    guided: bool


def _above(call: AttentionCall, upstream: Upstream) -> _Above:
    queries, keys = upstream.of(call.query), upstream.of(call.key, call.value)
    mask = upstream.of(call.mask)
    if call.eager:  # whose mask holds the scores
        return _Above(mask | keys, mask, keys, False)
    return _Above(queries | keys | mask, queries, keys, bool(mask))


def _seen(
    call: AttentionCall,
    stack: Sequence[str],
    above: _Above,
    changes: Tensor,
    own_queries: bool,
    rows: int,
    elsewhere: bool = False,
) -> SeenCall:
    return SeenCall(
        tuple(stack),
        windows_of(call, rows),
        call.query.shape[-2],
        call.value.shape[-2],
        above.all,
        call.eager,
        changes[:-1],
        changes[-1],
        own_queries,
        elsewhere,
        above.queries,
        above.keys,
        above.guided,
    )


def reached_by_noise(
    model: nn.Module, image: Image, calls: frozenset[int], scouted: Scouted
) -> frozenset[int]:
    """Which calls see another input when the answers of some calls are changed; those themselves left out."""
    passes: list[list[Tensor]] = []
    for noisy in (False, True):
        watch, seen = Watch(model, 1), list[Tensor]()

        def attend(
            call: AttentionCall,
            features: Tensor | None,
            index: int,
            noisy: bool = noisy,
            seen: list[Tensor] = seen,
        ) -> Tensor:
            assert features is not None  # there is one image
            seen.append(features[0])
            output = call.run()
            return output + output.std() if noisy and index in calls else output

        watch.run(image, attend)
        passes.append(seen)
    allowed = tolerance(scouted.dtype)
    pairs = enumerate(zip(*passes, strict=True))
    return frozenset(
        i for i, (one, other) in pairs if i not in calls and change_of(one, other).max() > allowed
    )

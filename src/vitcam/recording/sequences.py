"""Tells the sequences of tokens that attention goes between: an image's, those of objects' queries, a text's.

Each call reads tokens of one sequence, its keys, for those of one, its queries, to which its answer is added: the
same in self-attention, another in cross-attention. Which ones they are is told by where the tensors come from, and
confirmed by a pass in which answers are changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vitcam.recording.attention import AttentionCall
from vitcam.recording.layout import NO_SEQUENCES, Between, Image, Sequences
from vitcam.recording.obstacles import SeenCall, disorder_of
from vitcam.recording.upstream import IMAGE
from vitcam.recording.watch import Watch, change_of, query_features, value_features


def told_sequences(calls: Sequence[SeenCall]) -> Sequences:
    """The sequences, by where the queries and keys of each call come from.

    A tensor is of the sequence that the latest of the calls which it comes from has answered; that must be the latest
    answer to this sequence, too. What comes from no call begins a sequence.
    """
    tokens: list[int] = []
    latest: list[int] = []
    answered: dict[int, int] = {}
    found: list[Between] = []
    for index, call in enumerate(calls):
        newest = [max(above - {IMAGE}, default=None) for above in (call.of_queries, call.of_keys)]
        queries, keys = (None if of is None else answered[of] for of in newest)
        as_they_were = any(of is not None and latest[answered[of]] != of for of in newest)
        if as_they_were or call.guided:
            return NO_SEQUENCES
        if keys is None:
            keys = len(tokens)
            tokens.append(call.keys)
            latest.append(-1)
            if queries is None and call.queries == call.keys and not call.own_queries:
                queries = keys
        if queries is None:
            queries = len(tokens)
            tokens.append(call.queries)
            latest.append(-1)
        if (call.queries, call.keys, call.windows) != (tokens[queries], tokens[keys], 1):
            return NO_SEQUENCES
        answered[index], latest[queries] = queries, index
        found.append(Between(queries, keys))
    return Sequences(tuple(tokens), tuple(found))


def confirmed_sequences(
    model: nn.Module,
    image: Image,
    calls: Sequence[SeenCall],
    reached: Sequence[int],
    unseen: Sequence[tuple[int, str]],
) -> Sequences:
    """The sequences, if there are several, and all that goes between them is attention that is seen.

    Args:
        model, image: what was followed.
        calls, unseen: of the followed pass; see :class:`vitcam.recording.follow.Followed`.
        reached: the calls that the image reaches.
    """
    told = told_sequences(calls)
    if len(told.tokens) < 2 or unseen:
        return NO_SEQUENCES
    told = _image_first(told, told.calls[reached[0]].keys)
    of_image = [index for index, call in enumerate(told.calls) if call.keys == 0]
    # Where no token is mixed with another, the image reaches its own tokens alone.
    if of_image != list(reached):
        return NO_SEQUENCES
    answered = any(call.queries == 0 for call in told.calls)
    if not answered and disorder_of(calls, of_image, dict.fromkeys(of_image, 0)):
        return NO_SEQUENCES
    return told if _hold_together(model, image, told) else NO_SEQUENCES


def _image_first(told: Sequences, image: int) -> Sequences:
    order = [image, *(number for number in range(len(told.tokens)) if number != image)]
    return Sequences(
        tuple(told.tokens[number] for number in order),
        tuple(
            replace(call, queries=order.index(call.queries), keys=order.index(call.keys))
            for call in told.calls
        ),
    )


def _hold_together(model: nn.Module, image: Image, told: Sequences) -> bool:
    """Whether answers to some tokens of each sequence change these tokens of it alone, wherever they are read."""
    chosen = [_half_of(tokens, number).to(image.device) for number, tokens in enumerate(told.tokens)]
    still, stirred = (_tokens_seen(model, image, told, chosen if stir else None) for stir in (False, True))
    if not len(still) == len(stirred) == len(told.calls):
        return False
    answered: set[int] = set()
    for call, before, after in zip(told.calls, still, stirred, strict=True):
        for number, one, other in zip((call.queries, call.keys), before, after, strict=True):
            if one is None or other is None:  # queries of attention that is computed step by step
                continue
            moved = change_of(other, one)
            some = chosen[number]
            if number not in answered:
                some = torch.zeros_like(some)
            largest = moved.max().clamp_min(1e-12)
            if bool((moved[~some] > 1e-3).any()) or bool((moved[some] < 1e-3 * largest).float().mean() > 0.1):
                return False
        answered.add(call.queries)
    return True


def _half_of(tokens: int, number: int) -> Tensor:
    """Some of the tokens of a sequence, others than of another one that is as long."""
    chosen = torch.rand(tokens, generator=torch.Generator().manual_seed(number)) < 0.5
    chosen[number % tokens] = True
    return chosen


def _tokens_seen(
    model: nn.Module, image: Image, told: Sequences, chosen: Sequence[Tensor] | None
) -> list[tuple[Tensor | None, Tensor]]:
    """Queries and keys of each call, all of which give nothing, or the same something to the chosen tokens."""
    seen: list[tuple[Tensor | None, Tensor]] = []

    def attend(call: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        queries = query_features(call, 1)
        seen.append((None if queries is None else queries[0], value_features(call, 1)[0]))
        answer = call.query.new_zeros(*call.query.shape[:-1], call.value.shape[-1])
        if chosen is not None and index < len(told.calls):
            noise = torch.randn(answer.shape[-1], generator=torch.Generator().manual_seed(index))
            answer[..., chosen[told.calls[index].queries], :] += noise.to(answer)
        return answer

    Watch(model, 1).run(image, attend)
    return seen

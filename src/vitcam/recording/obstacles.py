"""From the attention calls of a followed pass to streams of tokens and their layers, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.recording.upstream import IMAGE


@dataclass(frozen=True)
class SeenCall:
    """One attention call of a followed pass.

    Attributes:
        stack: the modules that were being called, outermost first.
        windows: how many groups of tokens of one image attend apart from one another.
        queries, keys: numbers of tokens.
        upstream: the earlier calls that it was computed from.
        eager: whether the model computes it step by step.
        changes: how much each key (with its value) changes with each changed copy, as a share of its size.
        stirred: the same, when the answers of all calls are changed for some tokens.
        own_queries: whether the queries are other tokens than the keys.
        elsewhere: whether they are fewer, and not the first of the keys' tokens.
        of_queries, of_keys: the earlier calls that its queries, and its keys and values, were computed from; of
            attention that is computed step by step, those of its scores in the place of its queries'.
        guided: whether what it may see was computed from earlier calls.
    """

    stack: tuple[str, ...]
    windows: int
    queries: int
    keys: int
    upstream: frozenset[int]
    eager: bool
    changes: Float[Tensor, "copies keys"]
    stirred: Float[Tensor, " keys"]
    own_queries: bool
    elsewhere: bool = False
    of_queries: frozenset[int] = frozenset()
    of_keys: frozenset[int] = frozenset()
    guided: bool = False

    @property
    def name(self) -> str:
        return self.stack[-1] if self.stack else ""


def reaches(call: SeenCall) -> bool:
    return bool(call.changes.max() > 1e-3)


def streams_of_calls(calls: Sequence[SeenCall], reached: Sequence[int]) -> tuple[dict[int, int], str]:
    """The stream of each call that the image reaches, and what stands in the way."""
    members: list[list[int]] = []
    for index in reached:
        above = calls[index].upstream & set(reached)
        joined = [stream for stream in members if above & set(stream)]
        if not joined:
            members.append([index])
        elif len(joined) > 1:
            names = " and ".join(calls[stream[0]].name or "the model itself" for stream in joined)
            return dict.fromkeys(
                reached, 0
            ), f"streams of tokens that begin in {names} meet in {calls[index].name}"
        elif joined[0][-1] not in above:
            beside = calls[joined[0][-1]].name
            return dict.fromkeys(reached, 0), (
                f"{beside or 'it'} and {calls[index].name or 'it'} attend side by side, in one layer"
                if beside != calls[index].name
                else f"{beside or 'it'} attends twice in one layer, side by side"
            )
        else:
            joined[0].append(index)
    return {index: number for number, stream in enumerate(members) for index in stream}, ""


_USUAL = ", as is usual in hierarchical models"


def obstacle_of(calls: Sequence[SeenCall], layers: Sequence[int], inside: frozenset[int]) -> str:
    """Why the layers don't all attend over the same tokens: stages, windows, reduced keys; or ""."""
    seen = [calls[index] for index in layers]
    sizes = list(dict.fromkeys(call.keys * call.windows for call in seen))
    if len(sizes) > 1:
        return f"its attention layers see different numbers of tokens ({', '.join(map(str, sizes))}){_USUAL}"
    if any(call.windows > 1 for call in seen):
        return f"its attention layers attend within windows{_USUAL}"
    # An attention that pools the tokens for the head may have any number of queries.
    if any(call.queries > call.keys for call in seen):
        return f"its attention layers have fewer keys than queries{_USUAL}"
    for index in layers if len(layers) > 1 else ():
        call = calls[index]
        if call.own_queries and (call.queries == call.keys or index not in inside):
            return f"queries of its own attend over the image's tokens in {call.name}, as those of objects do"
    for call in seen:
        if call.elsewhere:
            return (
                f"the {call.queries} queries of {call.name or 'a layer'} aren't the first of the {call.keys} tokens "
                "that it attends over: keys of its own stand in front of them, or the queries are other tokens"
            )
    for call in calls:
        if not reaches(call) and call.upstream & set(layers):
            return (
                f"{call.name} attends over what queries of the model's own have read of the image's tokens, by "
                "attention over them or otherwise, as deformable attention does"
            )
    return ""


def unseen_in_front(first: SeenCall) -> str:
    """Whether the tokens of the first call that the image reaches are queries that have read it otherwise."""
    if not first.upstream - {IMAGE}:
        return ""
    return (
        f"the {first.keys} tokens that {first.name or 'it'} sees are queries of the model's own, which have read "
        "the image otherwise than by attention over its tokens, so that it isn't seen: by deformable attention, say"
    )


def unseen_between(
    calls: Sequence[SeenCall], layers: Sequence[int], unseen: Sequence[tuple[int, str]]
) -> str:
    """Whether tokens also mix in an attention that isn't among the layers; what is to be said then.

    In front of layers in which the first tokens alone have queries (CaiT's class attention) it may.
    """
    of_class = all(calls[index].queries < calls[index].keys for index in layers)
    for before, name in unseen:
        if before > layers[0] or not of_class:
            return (
                f"{name or 'it'} computes attention in another way than by a softmax times values (weights that are "
                "mixed over heads, subtracted, gated or normalised otherwise), so that it isn't seen among the layers"
            )
    return ""


def break_of(
    calls: Sequence[SeenCall], stream_of: dict[int, int], chosen: Tensor, patches: Tensor, allowed: float
) -> str:
    """Whether a later layer's tokens aren't computed from the same tokens of the layers before it.

    So it is where what the tokens of one network say is handed to another network as a whole: as logits, as a mask
    over the image, as a class token.

    Args:
        calls: of the followed pass.
        stream_of: the stream of each call that the image reaches.
        chosen: the tokens that every call answered otherwise.
        patches: the tokens that have places.
        allowed: by which share tokens may change for rounding alone.
    """
    for stream in set(stream_of.values()):
        layers = [index for index, number in stream_of.items() if number == stream]
        stirred = {
            index: change for index in layers[1:] if (change := calls[index].stirred).shape == chosen.shape
        }
        strongest = max((float(change.max()) for change in stirred.values()), default=0.0)
        if strongest <= allowed:
            continue  # attention adds next to nothing to the tokens
        for index, change in stirred.items():
            share = change / change.max().clamp_min(1e-12)
            # Where a token is much larger than others, an answer changes it little.
            lost = (share[chosen & patches] < 1e-3).float().mean() > 0.1
            gained = (share[~chosen] > 0.2).any()
            together = torch.corrcoef(torch.stack([share[patches], chosen[patches].to(share)]))[0, 1]
            if bool(change.max() < 0.01 * strongest) or lost or (gained and not bool(together > 0.8)):
                return (
                    f"the tokens that {calls[index].name or 'a later layer'} sees aren't computed from the same "
                    f"tokens of {calls[layers[0]].name or 'the first layer'} alone: something else than attention "
                    "hands on what they say to all tokens, or others take their place"
                )
    return ""


def disorder_of(calls: Sequence[SeenCall], layers: Sequence[int], stream_of: dict[int, int]) -> str:
    """Whether the tokens of a later layer aren't those of the first, place for place; what is to be said then."""
    first: dict[int, int] = {}
    for index in layers:
        start = first.setdefault(stream_of[index], index)
        before, after = calls[start].changes, calls[index].changes
        if before.shape == after.shape and not same_places(before, after):
            return (
                f"the tokens that {calls[index].name or 'a later layer'} sees aren't those of "
                f"{calls[start].name or 'the first layer'}, place for place: they are mixed or put in another order "
                "in between, by something other than attention"
            )
    return ""


def same_places(before: Tensor, after: Tensor) -> bool:
    """Whether the same tokens change. Where neighbours are mixed a little (by a convolution), others may, too."""
    strong, weak = (
        before > 0.2 * before.amax(dim=1, keepdim=True),
        before < 0.02 * before.amax(dim=1, keepdim=True),
    )
    again = after / after.amax(dim=1, keepdim=True).clamp_min(1e-12)
    lost, gained = (again[strong] < 0.02).any(), (again[weak] > 0.2).any()
    if not lost and not gained:
        return True
    if lost:
        return False
    pairs = zip(before, again, strict=True)
    return all(float(torch.corrcoef(torch.stack(pair))[0, 1]) > 0.8 for pair in pairs)

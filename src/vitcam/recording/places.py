"""Measures which token is which place of an image: changes places, and looks which tokens answer.

A model is asked by ``respond``: from images to what their tokens are where they first meet in attention. Nothing is
guessed from numbers of tokens, so any order, any tokens of no place, crops and uncovered borders are found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, pairwise
from statistics import median

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.recording.layout import Image, Sides, cells, changed_copies, grid_of, laid
from vitcam.types import PatchGrid

Interval = tuple[int, int] | tuple[()] | None


Respond = Callable[[Float[Tensor, "copies channels *space"]], Float[Tensor, "copies tokens features"]]


COPIES = 16  # how many changed copies of an image go through a model together


_SILENT = 0.03  # of the usual change: a token that changes less belongs to no place


_LEAK = 0.02  # of its own change: what a token may change when other places do (norms over all tokens, int8)


def measured_grid(
    respond: Respond,
    image: Image,
    candidates: Sequence[Sides],
    spread: Sequence[Sides],
    *,
    anywhere: bool = True,
) -> PatchGrid | None:
    """How the tokens lie over the image, or None where that couldn't be confirmed.

    Args:
        respond: the tokens of images.
        image: any image of the size in question.
        candidates: (rows, columns) of patches that are tried first.
        spread: those that may be confirmed by tokens that see much more than their own place, in front of which
            convolutions have mixed places, as long as the order is row by row.
        anywhere: whether other grids than the candidates are looked for.
    """
    probe = _Probe(respond, image)
    for shape in candidates:
        order = _decoded(probe, shape)
        if order is not None:
            return grid_of(order, shape)
    centred_grid: PatchGrid | None = None
    for shape in spread:
        sides = [_even_strips(probe, axis, parts) for axis, parts in enumerate(shape)]
        prefix = _prefix_of_spread(sides, shape)
        if prefix is None:
            continue
        if not anywhere or all(map(_is_spread, sides)):
            return laid(shape, prefix)
        centred_grid = centred_grid or laid(shape, prefix)
    # Tokens that see little more than a patch may stand anywhere, which their own strips tell best.
    return (_by_strips(probe) or centred_grid) if anywhere else None


class _Probe:
    """A model that is asked again and again about one image."""

    def __init__(self, respond: Respond, image: Image) -> None:
        self.image = image
        self.size = tuple(image.shape[2:])
        self._respond = respond

    def changes(self, masks: Bool[Tensor, copies * space]) -> Float[Tensor, "copies tokens"]:
        """How much each token changes with the masked pixels."""
        parts = []
        for some in masks.split(COPIES - 1):
            tokens = self._respond(torch.cat([self.image, changed_copies(self.image, some)]))
            parts.append((tokens[1:] - tokens[:1]).norm(dim=-1))
        return torch.cat(parts)

    def strips(self, axis: int, edges: Sequence[int]) -> Float[Tensor, "strips tokens"]:
        """How much each token changes with each strip across an axis (0: of rows, 1: of columns) between edges."""
        masks = torch.zeros(len(edges) - 1, *self.size, dtype=torch.bool)
        for mask, start, stop in zip(masks, edges, edges[1:], strict=False):
            mask.narrow(axis, start, stop - start).fill_(True)
        return self.changes(masks)


def _decoded(probe: _Probe, shape: Sides) -> list[int] | None:
    """The token of each patch of an even grid; None if a token answers to more or less than one patch of it.

    Copy b of the image is changed in those patches whose code word has a one at b. All words have as many ones, so
    a token that answers to two patches can't be taken for one that answers to a third.
    """
    patches = math.prod(shape)
    bits = next(n for n in range(2, 65) if math.comb(n, n // 2) >= patches)
    words = list(islice(combinations(range(bits), bits // 2), patches))
    if len(shape) != len(probe.size) or any(n > side for n, side in zip(shape, probe.size, strict=True)):
        return None
    masks = torch.zeros(bits, *probe.size, dtype=torch.bool)
    for word, place in zip(words, cells(laid(shape, 0), probe.size), strict=True):
        for bit in word:
            masks[bit][place] = True
    changes = probe.changes(masks)
    strongest = changes.amax(dim=0)
    placed = strongest > _SILENT * strongest.median().clamp_min(_SILENT * strongest.max())
    # A token that answers to everything (a mean of patches) is none of the patches.
    placed &= changes.amin(dim=0) <= 0.2 * strongest
    ones, zeros = changes > 0.9 * strongest, changes < _LEAK * strongest
    if not (ones | zeros)[:, placed].all() or int(placed.sum()) != patches:
        return None
    patch_of = {word: index for index, word in enumerate(words)}
    order = [-1] * patches
    for token in placed.nonzero().flatten().tolist():
        index = patch_of.get(tuple(ones[:, token].nonzero().flatten().tolist()))
        if index is None or order[index] >= 0:
            return None
        order[index] = token
    return order


@dataclass(frozen=True)
class _Lines:
    """The rows (or columns) of tokens that strips of an image tell apart.

    Attributes:
        of_token: the line of each token; of tokens of no place it means nothing.
        intervals: the (first, last) pixel of each line, to the width of a strip.
        step: the width of a strip.
    """

    of_token: tuple[int, ...]
    intervals: tuple[tuple[int, int], ...]
    step: int


def _by_strips(probe: _Probe) -> PatchGrid | None:
    """The grid of patches that stand anywhere in the image, and may overlap a little."""
    tokens = probe.strips(0, [0, probe.size[0]]).shape[1]
    parts = 2 * math.ceil(tokens ** (1 / len(probe.size)))
    while True:
        strips = [min(parts, side) for side in probe.size]
        intervals = [_intervals(probe, axis, count) for axis, count in enumerate(strips)]
        everything = tuple((0, side) for side in probe.size)
        seen = list(zip(*intervals, strict=True))
        placed = [token for token, each in enumerate(seen) if None not in each and each != everything]
        # A token that answers along one axis and not along the other is none that is understood.
        if any(one is not None and () in each for each in seen for one in each):
            return None
        told = [
            _lines(each, placed, math.ceil(side / count))
            for each, side, count in zip(intervals, probe.size, strips, strict=True)
        ]
        lines = [each for each in told if each is not None]
        if not placed:
            return None
        if len(lines) == len(told):  # if not, strips of this width don't tell lines apart that overlap
            by_place = sorted((*(each.of_token[token] for each in lines), token) for token in placed)
            shape = tuple(len(each.intervals) for each in lines)
            if len({place[:-1] for place in by_place}) == len(by_place) == math.prod(shape):
                break
        if parts >= min(2 * tokens, max(probe.size)):
            return None
        parts *= 2
    grid = grid_of([token for *_, token in by_place], shape)
    if math.prod(shape) == 1 < tokens:  # some token answers to a part of the image: that makes no grid
        return None
    if not all(map(_advances, lines)):
        return None
    starts, stops = zip(*(_extent(probe, axis, each, placed) for axis, each in enumerate(lines)), strict=True)
    region = (*starts, *stops)
    return grid if region == (*[0] * len(shape), *probe.size) else replace(grid, region=region)


def _intervals(probe: _Probe, axis: int, parts: int) -> list[Interval]:
    """From where to where each token answers along an axis; () if not from one end to the other of a part of it,
    None if it answers to nothing."""
    edges = [round(probe.size[axis] * i / parts) for i in range(parts + 1)]
    changes = probe.strips(axis, edges)
    strongest = changes.amax(dim=0)
    silent = strongest <= _SILENT * strongest.max()
    intervals: list[Interval] = []
    for token, answers in enumerate((changes > 0.1 * strongest).T):
        strips = answers.nonzero().flatten().tolist()
        if silent[token]:
            intervals.append(None)
        elif strips == list(range(strips[0], strips[-1] + 1)):
            intervals.append((edges[strips[0]], edges[strips[-1] + 1]))
        else:
            intervals.append(())
    return intervals


def _lines(intervals: Sequence[Interval], placed: Sequence[int], step: int) -> _Lines | None:
    seen = (intervals[token] for token in placed)
    kinds = sorted({interval for interval in seen if interval is not None and len(interval) == 2})
    if any(a[1] > b[1] or a[0] == b[0] for a, b in pairwise(kinds)):
        return None
    index: dict[Interval, int] = {interval: line for line, interval in enumerate(kinds)}
    return _Lines(tuple(index.get(each, -1) for each in intervals), tuple(kinds), step)


def _extent(probe: _Probe, axis: int, lines: _Lines, placed: Sequence[int]) -> tuple[float, float]:
    """From where to where patches cover an axis, in pixels; the whole of it, where they nearly do."""
    length, count = probe.size[axis], len(lines.intervals)
    inner = 1 if count >= 4 else 0  # padding cuts what the outermost patches see
    first, last = (_exact(probe, axis, lines, placed, line) for line in (inner, count - 1 - inner))
    step = (sum(last) - sum(first)) / 2 / (count - 1 - 2 * inner) if count > 1 else first[1] - first[0]
    start = sum(first) / 2 - (inner + 0.5) * step
    stop = start + count * step
    off = max(abs(start), abs(stop - length))
    # Patches side by side are measured to the pixel, and so are overlapping ones that no border cuts: these lie
    # within the axis. Of those that are cut, what they see isn't centred on their place.
    overlap = first[1] - first[0] > step + 1
    if off <= 1 or (overlap and off <= 0.75 * step and _are_cut(probe, axis, lines, placed)):
        return 0.0, float(length)
    return start, stop


def _are_cut(probe: _Probe, axis: int, lines: _Lines, placed: Sequence[int]) -> bool:
    """Whether the outermost patches see less of an axis than the one in the middle: they reach beyond the
    image, which the model has padded. Of two patches, which have none between them, that isn't known to be otherwise.
    """
    count = len(lines.intervals)
    if count < 3:
        return True
    seen = [_exact(probe, axis, lines, placed, line) for line in (0, count // 2, count - 1)]
    first, middle, last = (stop - start for start, stop in seen)
    return min(first, last) < middle - 1


def _advances(lines: _Lines) -> bool:
    """Whether each line answers to a part of the image of its own, further on than the one before it.

    Where an image is mirrored or repeated at its borders, the last lines answer to places of others. A border that
    cuts off what patches see moves their middles by half of a step at most.
    """
    middles = [(start + stop) / 2 for start, stop in lines.intervals]
    steps = [after - before for before, after in pairwise(middles)]
    widest = max(stop - start for start, stop in lines.intervals)
    return all(step >= max(0.4 * median(steps), 0.2 * widest) for step in steps)


def _exact(probe: _Probe, axis: int, lines: _Lines, placed: Sequence[int], line: int) -> tuple[float, float]:
    """The first and the last pixel, exclusive, that the tokens of a line answer to, by bisection."""
    length = probe.size[axis]
    members = [token for token in placed if lines.of_token[token] == line]
    low, high = lines.intervals[line]
    strongest = probe.strips(axis, [low, high])[0, members].max()

    def answers(start: int, stop: int) -> bool:
        return bool(probe.strips(axis, [start, stop])[0, members].max() > _LEAK * strongest)

    silent, answering = max(0, low - lines.step), min(length, low + lines.step)
    if silent == 0 or not answers(0, silent):  # rows before ``silent`` are silent, before ``answering`` not
        while answering - silent > 1:
            middle = (silent + answering) // 2
            silent, answering = (silent, middle) if answers(0, middle) else (middle, answering)
    first = silent
    answering, silent = max(0, high - lines.step), min(length, high + lines.step)
    if silent == length or not answers(silent, length):
        while silent - answering > 1:
            middle = (silent + answering) // 2
            answering, silent = (middle, silent) if answers(middle, length) else (answering, middle)
    return float(first), float(silent)


def _even_strips(probe: _Probe, axis: int, parts: int) -> Float[Tensor, "strips tokens"]:
    return probe.strips(axis, [round(probe.size[axis] * i / parts) for i in range(parts + 1)])


def _is_spread(changes: Float[Tensor, "strips tokens"]) -> bool:
    """Whether tokens answer to more strips than their own and its neighbours."""
    answered = (changes > 0.1 * changes.amax(dim=0)).sum(dim=0).float().median()
    return float(answered) >= min(4, len(changes))


def _prefix_of_spread(sides: Sequence[Float[Tensor, "_strips tokens"]], shape: Sides) -> int | None:
    """How many tokens stand in front of the patches, each of which answers most around its own place."""
    middles = []
    for changes in (side.square() for side in sides):
        steps = torch.arange(len(changes), dtype=changes.dtype, device=changes.device)
        middles.append((changes * steps[:, None]).sum(0) / changes.sum(0).clamp_min(1e-30))
    tokens, patches = middles[0].shape[0], math.prod(shape)
    for prefix in dict.fromkeys((tokens - patches, 0)):
        if prefix < 0:
            return None
        by_line = (
            middle[prefix : prefix + patches].unflatten(0, shape).movedim(axis, 0).flatten(1)
            for axis, middle in enumerate(middles)
        )
        if all(map(centred, by_line)):
            return prefix
    return None


def centred(places: Float[Tensor, "lines tokens"]) -> bool:
    """Whether what tokens answer to, the mean place of it, moves with the line that they are said to stand in."""
    lines = places.shape[0]
    if lines == 1:
        return True
    means = places.mean(dim=1)
    if not bool((means.diff() > 0).all()):
        return False
    said = torch.arange(lines, dtype=places.dtype, device=places.device)[:, None].expand_as(places)
    return float(torch.corrcoef(torch.stack([places.flatten(), said.flatten()]))[0, 1]) > 0.8

"""Runs a model on changed copies of an image, to see which attention calls are layers of its stream of tokens.

Tokens mix in attention. Where every attention is answered by its own values instead (each token attends to itself
alone), they don't mix at all: a change of the image stays in the tokens of the places that were changed, through
all layers. So each call shows whether the image reaches its keys, in which order, and whether anything else has mixed
them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import with_head_dimension
from vitcam.recording.call import AttentionCall
from vitcam.recording.fast_linear import fast_linear
from vitcam.recording.interception import intercept
from vitcam.recording.lineage import Lineage
from vitcam.recording.places import Image, changed_copies
from vitcam.recording.stack import module_stack
from vitcam.recording.suitable import check_tensor, explain_failure
from vitcam.recording.upstream import IMAGE, Upstream

Rows = Float[Tensor, "rows channels height width"]
_FEATURES = 64  # of a token's key and value, each projected: enough to see that it changes
TRUE = 1  # how many rows of a followed pass are attended to as the model does


@dataclass(frozen=True)
class SeenCall:
    """One attention call of a followed pass.

    Attributes:
        stack: the modules that were being called, outermost first.
        windows: how many groups of tokens of one image attend apart from one another.
        queries, keys: numbers of tokens.
        upstream: the earlier calls that it was computed from.
        written_out: whether the model wrote it out.
        changes: how much each key (with its value) changes with each changed copy, as a share of its size.
        own_queries: whether the queries are other tokens than the keys.
    """

    stack: tuple[str, ...]
    windows: int
    queries: int
    keys: int
    upstream: frozenset[int]
    written_out: bool
    changes: Float[Tensor, "copies keys"]
    own_queries: bool

    @property
    def name(self) -> str:
        return self.stack[-1] if self.stack else ""


@dataclass(frozen=True)
class Scouted:
    """What a first look at a model tells.

    Attributes:
        first: the number of the first attention call that the image reaches.
        together: whether several images go through the model at once, each as if it were alone.
        convolutions: (rows, columns) of what convolutions in front of that call gave.
        tokens: how many keys that call has.
    """

    first: int
    together: bool
    convolutions: tuple[tuple[int, int], ...]
    tokens: int


class _ReachedError(Exception):
    """Ends a forward pass where enough is seen."""


class _NotTogetherError(Exception):
    """What belongs to which image of a batch couldn't be told."""


def tolerance(model_dtype: torch.dtype) -> float:
    """The share by which tokens may differ for rounding alone."""
    return 1e-4 if model_dtype in (torch.float32, torch.float64) else 3e-2


def scout(model: nn.Module, image: Image) -> Scouted:
    """Looks for the first attention call that the image reaches.

    Raises:
        ModelError: the model fails, no attention was seen or the image reaches none, or the same image gives other
            tokens each time.
    """
    everything = torch.ones(1, *image.shape[-2:], dtype=torch.bool)
    rows = torch.cat([image, changed_copies(image, everything), image])
    try:
        return _scout_together(model, rows)
    except _NotTogetherError:
        pass
    except ModelError:
        raise
    except Exception:  # whatever a model raises that takes one image at a time; alone it has to work
        pass
    return _scout_one_by_one(model, rows)


def _scout_together(model: nn.Module, rows: Rows) -> Scouted:
    watch, upstream = _Watch(model, rows.shape[0]), Upstream()
    allowed = tolerance(rows.dtype)
    upstream.mark(rows, {IMAGE})

    def attend(call: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        if features is None:
            return _apart(call, upstream)
        changed, again = (_change(features[row], features[0]).max() > allowed for row in (1, 2))
        if again:
            raise _NotTogetherError
        if changed:
            watch.first = Scouted(index, True, tuple(watch.convolutions), features.shape[1])
            raise _ReachedError
        return call.run()

    watch.run(rows, attend, upstream.see)
    return watch.first or _unreached(model, watch.count)


def _apart(call: AttentionCall, upstream: Upstream) -> Tensor:
    """Answers a call whose tensors aren't one per image, as it may be that doesn't depend on images."""
    if IMAGE in upstream.of(call.query, call.key, call.value, call.mask):
        raise _NotTogetherError
    return call.run()


def _scout_one_by_one(model: nn.Module, rows: Rows) -> Scouted:
    each: list[list[Tensor]] = []
    for row in rows.split(1):
        watch, seen = _Watch(model, 1), list[Tensor]()

        def attend(
            call: AttentionCall, features: Tensor | None, index: int, seen: list[Tensor] = seen
        ) -> Tensor:
            assert features is not None  # there is one image
            seen.append(features[0])
            return call.run()

        try:
            watch.run(row, attend)
        except Exception as error:
            # Whatever a model raises on input that it isn't made for, its user needs to know the input.
            raise explain_failure(model, row, error) from error
        each.append(seen)
    original, changed, again = each
    if len(original) != len(again) or any(
        one.shape != other.shape or _change(one, other).max() > tolerance(rows.dtype)
        for one, other in zip(original, again, strict=True)
    ):
        raise ModelError(
            f"{type(model).__name__} makes other tokens of the same image each time, so that no map would fit the "
            "image. Does it mask patches at random (Hugging Face's ViTMAE does, also when it evaluates)? Explain a "
            "model without that, such as ViTForImageClassification with the same weights"
        )
    for index, (one, other) in enumerate(zip(original, changed, strict=False)):
        if one.shape != other.shape or _change(one, other).max() > tolerance(rows.dtype):
            return Scouted(index, False, tuple(watch.convolutions), len(one))
    return _unreached(model, len(original))


def _unreached(model: nn.Module, calls: int) -> Scouted:
    if calls:
        raise ModelError(
            f"the image reaches none of the {calls} attention calls of {type(model).__name__}: they see the same "
            "whatever the image is, so there is nothing to explain"
        )
    raise ModelError(
        f"no attention was seen: {type(model).__name__} never called torch's scaled_dot_product_attention, nor "
        "was a softmax multiplied with values. vitcam explains Vision Transformers. If this is one, let it "
        "call torch.nn.functional.scaled_dot_product_attention (timm: fused_attn=True; Hugging Face: "
        "attn_implementation='sdpa')"
    )


def tokens_at(
    model: nn.Module, rows: Rows, scouted: Scouted, call: int
) -> Float[Tensor, "rows tokens features"]:
    """The keys and values of one attention call for each of some images, no token mixed with another before it."""
    found: list[Tensor] = []

    def attend(given: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        if index == call:
            assert features is not None  # or the model would not take images together
            found.append(features)
            raise _ReachedError
        return given.run() if index < scouted.first or features is None else unmixed(given, features)

    for part in rows.split(len(rows) if scouted.together else 1):
        watch = _Watch(model, len(part))
        watch.run(part, attend)
    return torch.cat(found)


@dataclass
class Followed:
    """A pass of an image as it is, and of copies in which no token is mixed with another.

    Attributes:
        calls: every attention call.
        output: what the model gave for the image.
        tokens_first: whether tokens are laid out as (tokens, batch, channels) more often than not.
        lineage: how the output was made.
    """

    calls: list[SeenCall]
    output: Any
    tokens_first: bool
    lineage: Lineage


def follow(model: nn.Module, image: Image, copies: Rows, scouted: Scouted) -> Followed:
    """Runs the image as it is, and unmixed with changed copies of it, through the whole model."""
    rows = torch.cat([image, image, copies])
    if len(rows) == scouted.tokens:  # or it couldn't be told which axis is which
        rows = torch.cat([rows, copies[-1:]])
    together = scouted.together
    tokens_first, lineage = 0, Lineage()
    seen: list[SeenCall] = []
    allowed = tolerance(rows.dtype)
    parts: list[list[tuple[AttentionCall, Tensor, Tensor | None]]] = []
    outputs = []
    for start, part in enumerate(rows.split(len(rows) if together else 1)):
        watch, upstream = _Watch(model, len(part)), Upstream()
        upstream.mark(part, {IMAGE})
        of_part: list[tuple[AttentionCall, Tensor, Tensor | None]] = []

        def attend(
            call: AttentionCall,
            features: Tensor | None,
            index: int,
            *,
            start: int = start,
            upstream: Upstream = upstream,
            watch: Any = watch,
            of_part: list[Any] = of_part,
        ) -> Tensor:
            reached = upstream.of(call.query, call.key, call.value, call.mask)
            if features is None:
                changes = rows.new_zeros(len(copies), call.value.shape[-2])
                seen.append(_seen(call, watch.stack, reached, changes, False, 1))
                output = _apart(call, upstream)
                upstream.mark(output, reached | {index})
                return output
            queries = _query_features(call, len(features))
            own = call.query.shape[-2] != features.shape[1] // _windows(call, len(features))
            if together:
                changes = _change(features[2:], features[1])
                reaches = bool(changes.max() > allowed)
                own = own or _own_queries(call, queries, changes)
                seen.append(_seen(call, watch.stack, reached, changes, own, len(features)))
            else:
                reaches = index >= scouted.first
                of_part.append((call, features, queries))
                if not start:
                    seen.append(_seen(call, watch.stack, reached, features[:0, :, 0], own, 1))
            mixed = TRUE if together else int(not start)
            output = unmixed(call, features, mixed, own) if reaches else call.run()
            upstream.mark(output, reached | {index})
            return output

        with contextlib.nullcontext() if start else lineage:
            outputs.append(watch.run(part, attend, upstream.see))
        parts.append(of_part)
        tokens_first += watch.laid[scouted.tokens, len(part)] - watch.laid[len(part), scouted.tokens]
    if not together:
        seen = _compared(model, seen, parts)
    return Followed(seen, outputs[0], tokens_first > 0, lineage)


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
        changes = _change(torch.cat([features for _, features, _ in rows[2:]]), rows[1][1][0])
        own = call.own_queries
        if not own and not call.written_out:
            queries = torch.cat([queries for _, _, queries in rows[1:]])
            own = _unlike(_change(queries[1:], queries[0]), changes)
        compared.append(
            SeenCall(
                call.stack,
                call.windows,
                call.queries,
                call.keys,
                call.upstream,
                call.written_out,
                changes,
                own,
            )
        )
    return compared


def _seen(
    call: AttentionCall, stack: Sequence[str], upstream: frozenset[int], changes: Tensor, own: bool, rows: int
) -> SeenCall:
    return SeenCall(
        tuple(stack),
        _windows(call, rows),
        call.query.shape[-2],
        call.value.shape[-2],
        upstream,
        call.written_out,
        changes,
        own,
    )


def reached_by_noise(
    model: nn.Module, image: Image, calls: frozenset[int], scouted: Scouted
) -> frozenset[int]:
    """Which calls see another input when the answers of some calls are changed; those themselves left out."""
    found: list[list[Tensor]] = []
    for noisy in (False, True):
        watch, seen = _Watch(model, 1), list[Tensor]()

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
        found.append(seen)
    allowed = tolerance(image.dtype)
    pairs = enumerate(zip(*found, strict=True))
    return frozenset(i for i, (one, other) in pairs if i not in calls and _change(one, other).max() > allowed)


def unmixed(call: AttentionCall, features: Tensor, mixed: int = 0, own: bool | None = None) -> Tensor:
    """The call's answer in which each token gets its own value; queries of their own get nothing.

    Args:
        call, features: the call, and its keys and values per row.
        mixed: how many of the first rows are answered as the model does.
        own: whether the queries are other tokens than the keys; None: told by their number.
    """
    rows = len(features)
    output = call.run() if mixed else None
    value = call.value
    if call.enable_gqa:
        value = value.repeat_interleave(call.query.shape[-3] // value.shape[-3], dim=-3)
    shape = (*call.query.shape[:-1], value.shape[-1])
    if own if own is not None else call.query.shape[-2] != value.shape[-2]:
        value = value.new_zeros(shape)
    value = value.expand(shape)
    if output is None:
        return value.clone()
    kept = mixed * (shape[0] // rows)
    return torch.cat([output[:kept], value[kept:]])


class _Watch:
    """Watches one pass of some images, of each attention call its keys and values per image."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.first: Scouted | None = None
        self.convolutions: list[tuple[int, int]] = []
        self.count = 0
        self.laid: Counter[tuple[int, int]] = Counter()
        self.stack: Sequence[str] = ()
        self._model, self._rows = model, rows

    def run(
        self,
        rows: Rows,
        attend: Callable[[AttentionCall, Tensor | None, int], Tensor],
        observe: Callable[..., None] | None = None,
    ) -> Any:
        """What the model gives; None where a pass was ended early."""

        def answer(call: AttentionCall) -> Tensor:
            self.count += 1
            check_tensor(call.value, self._model)
            by_row = call.query.shape[0] % self._rows == call.value.shape[0] % self._rows == 0
            return attend(call, _features(call, self._rows) if by_row else None, self.count - 1)

        def look(function: Any, args: Any, keywords: Any, result: Any) -> None:
            if function in _CONVOLUTIONS and isinstance(result, Tensor) and result.dim() == 4:
                self.convolutions.append((result.shape[-2], result.shape[-1]))
            if isinstance(result, Tensor) and result.dim() == 3:
                self.laid[result.shape[0], result.shape[1]] += 1
            if observe is not None:
                observe(function, args, keywords, result)

        with module_stack(self._model) as self.stack, torch.no_grad(), fast_linear():
            try:
                with intercept(answer, look, written_out=True):
                    return self._model(rows)
            except _ReachedError:
                return None


_CONVOLUTIONS = frozenset({torch.conv2d, nn.functional.conv2d})


def _windows(call: AttentionCall, rows: int) -> int:
    """How many groups of one image's tokens attend apart: leading dimensions besides batch and heads."""
    shape = call.query.shape
    if len(shape) < 4:
        return 1
    windows = shape[:-3].numel()
    if len(shape) > 4:
        windows = windows * shape[-3] // shape[1]
    return max(1, windows // rows)


def _features(call: AttentionCall, rows: int) -> Float[Tensor, "rows tokens features"]:
    """Keys and values per row and token, each projected to a few numbers."""
    tensors = (call.value,) if call.written_out else (call.key, call.value)
    return torch.cat([_projected(tensor, call, rows) for tensor in tensors], dim=-1)


def _query_features(call: AttentionCall, rows: int) -> Tensor | None:
    return None if call.written_out else _projected(call.query, call, rows)


def _projected(tensor: Tensor, call: AttentionCall, rows: int) -> Float[Tensor, "rows tokens features"]:
    windows = _windows(call, rows)
    tokens, dim = tensor.shape[-2:]
    by_row = tensor.detach().reshape(rows, -1, tokens, dim)
    heads = max(1, by_row.shape[1] // windows)
    by_row = by_row.reshape(rows, -1, heads, tokens, dim).transpose(2, 3).flatten(3).flatten(1, 2).float()
    projected: Tensor = by_row @ _projection(by_row.shape[-1], by_row.device)
    return projected


def _projection(size: int, device: torch.device) -> Float[Tensor, "size features"]:
    if size <= _FEATURES:
        return torch.eye(size, device=device)
    generator = torch.Generator().manual_seed(size)
    projection: Tensor = torch.randn(size, _FEATURES, generator=generator) / _FEATURES**0.5
    return projection.to(device)


def _change(
    tokens: Float[Tensor, "*rows tokens features"], before: Float[Tensor, "tokens features"]
) -> Float[Tensor, "*rows tokens"]:
    """How far each token has moved, as a share of the usual size of tokens."""
    size = before.norm(dim=-1).median().clamp_min(1e-12)
    moved: Tensor = (tokens - before).norm(dim=-1)
    return moved / size


def _own_queries(call: AttentionCall, queries: Tensor | None, changes: Float[Tensor, "copies keys"]) -> bool:
    """Whether as many queries as keys aren't the keys' tokens: their changes don't go together."""
    if not bool(changes.max() > 0):
        return False
    if queries is not None:
        return _unlike(_change(queries[2:], queries[1]), changes)
    # Of written-out attention S is known: where a key hasn't changed, only a change of the query changes it.
    still = changes.amax(dim=0) < 1e-3 * changes.max()
    if call.mask is None or call.mask.dim() < 3 or not still.any() or _windows(call, len(changes) + 2) > 1:
        return False
    scores = with_head_dimension(call, len(changes) + 2).mask
    assert scores is not None
    if scores.shape[0] != len(changes) + 2:
        return False
    moved = (scores[2:] - scores[1:2])[..., still].detach().float().abs()
    return _unlike(moved.flatten(3).mean(dim=(1, 3)) if moved.dim() == 4 else moved.mean(dim=-1), changes)


def _unlike(queries: Float[Tensor, "copies queries"], keys: Float[Tensor, "copies keys"]) -> bool:
    if queries.shape != keys.shape:
        return True
    if not bool(queries.max() > 0.01 * keys.max()):
        return True
    pair = torch.stack([queries.flatten(), keys.flatten()])
    if bool((pair.std(dim=1) == 0).any()):
        return False
    return float(torch.corrcoef(pair)[0, 1]) < 0.5


def some_cells(count: int, copies: int) -> Iterator[list[bool]]:
    """Which of some places are changed in each of some copies: about half of them, at random, never all or none."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(copies):
        chosen = torch.rand(count, generator=generator) < 0.5
        chosen[0], chosen[-1] = True, count == 1
        yield chosen.tolist()

"""Watches passes of a model whose images are rows of a batch: of each attention call the keys and values per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.recording.attention import AttentionCall, with_head_dimension
from vitcam.recording.blocks import module_stack
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Behaviour, Sides
from vitcam.recording.onednn import fast_linear
from vitcam.recording.running import check_tensor
from vitcam.recording.upstream import IMAGE, Upstream

Rows = Float[Tensor, "rows channels *space"]
FEATURES = 64  # of a token's key and value, each projected: enough to see that it changes


class ReachedError(Exception):
    """Ends a forward pass where enough is seen."""


class NotTogetherError(Exception):
    """What belongs to which image of a batch couldn't be told."""


def tolerance(lowest: torch.dtype) -> float:
    """The share by which tokens may differ for rounding alone, in the lowest precision that a model computes in."""
    return 1e-4 if lowest in (torch.float32, torch.float64) else 3e-2


def logits_tolerance(lowest: torch.dtype) -> float:
    """The same of logits, as a share of their spread."""
    return 1e-3 if lowest in (torch.float32, torch.float64) else 5e-2


class Watch:
    """Watches one pass of some images, of each attention call its keys and values per image.

    Attributes:
        convolutions: (rows, columns) of what convolutions gave.
        count: how many attention calls there were.
        laid: how often tensors had which two leading dimensions.
        stack: the modules that are being called, outermost first.
        behaviour: what the model was seen to do.
    """

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.convolutions: list[Sides] = []
        self.count = 0
        self.laid: Counter[tuple[int, int]] = Counter()
        self.stack: Sequence[str] = ()
        self.behaviour = Behaviour()
        self._model, self._rows = model, rows

    def place(self) -> tuple[int, str]:
        """How many attention calls there were up to now, and the innermost module that is being called."""
        return self.count, self.stack[-1] if self.stack else ""

    def run(
        self,
        rows: Rows,
        attend: Callable[[AttentionCall, Tensor | None, int], Tensor],
        observe: Callable[..., None] | None = None,
    ) -> Any:
        """What the model gives; None where a pass was ended early."""
        read: list[tuple[Tensor, int]] = []

        def answer(call: AttentionCall) -> Tensor:
            self.count += 1
            check_tensor(call.value, self._model)
            self._computed(call.value)
            held = (call.query, call.key, call.value, call.mask)
            read.extend((x, x._version) for x in held if x is not None and not x.is_inference())
            by_row = call.query.shape[0] % self._rows == call.value.shape[0] % self._rows == 0
            return attend(call, features_of(call, self._rows) if by_row else None, self.count - 1)

        def look(function: Any, args: Any, keywords: Any, result: Any) -> None:
            if isinstance(result, Tensor):
                self._computed(result)
            if function in _CONVOLUTIONS and isinstance(result, Tensor):
                self.convolutions += _places_of(result, rows)
            if isinstance(result, Tensor) and result.dim() == 3:
                self.laid[result.shape[0], result.shape[1]] += 1
            if observe is not None:
                observe(function, args, keywords, result)

        with module_stack(self._model) as self.stack, torch.no_grad(), fast_linear():
            try:
                with intercept(answer, look, eager=True):
                    given = rows.clone()  # here, where it is seen
                    return self._model(given)
            except ReachedError:
                return None
            finally:
                self.behaviour = replace(
                    self.behaviour,
                    written_over=any(tensor._version != version for tensor, version in read),
                    writes_images=given._version > 0,
                )

    def _computed(self, tensor: Tensor) -> None:
        if tensor.is_floating_point() and tensor.dtype.itemsize < self.behaviour.dtype.itemsize:
            self.behaviour = replace(self.behaviour, dtype=tensor.dtype)


_CONVOLUTIONS = frozenset({torch.conv2d, nn.functional.conv2d, torch.conv3d, nn.functional.conv3d})


def _places_of(result: Tensor, rows: Rows) -> list[Sides]:
    """The places of what a convolution gave; of one that goes over a clip frame by frame, times the frames."""
    axes = rows.dim() - 2
    if result.dim() == axes + 2:
        return [tuple(result.shape[2:])]
    if result.dim() == axes + 1 and len(result) % len(rows) == 0:
        return [(len(result) // len(rows), *result.shape[2:])]
    return []


def windows_of(call: AttentionCall, rows: int) -> int:
    """How many groups of one image's tokens attend apart: leading dimensions besides batch and heads."""
    shape = call.query.shape
    if len(shape) < 4:
        return 1
    windows = shape[:-3].numel()
    if len(shape) > 4:
        windows = windows * shape[-3] // shape[1]
    return max(1, windows // rows)


def features_of(call: AttentionCall, rows: int) -> Float[Tensor, "rows tokens features"]:
    """Keys and values per row and token, each projected to a few numbers."""
    values = value_features(call, rows)
    return values if call.eager else torch.cat([_projected(call.key, call, rows), values], dim=-1)


def value_features(call: AttentionCall, rows: int) -> Float[Tensor, "rows tokens features"]:
    """The last part of :func:`features_of`: the values alone."""
    return _projected(call.value, call, rows)


def query_features(call: AttentionCall, rows: int) -> Tensor | None:
    return None if call.eager else _projected(call.query, call, rows)


def _projected(tensor: Tensor, call: AttentionCall, rows: int) -> Float[Tensor, "rows tokens features"]:
    windows = windows_of(call, rows)
    tokens, dim = tensor.shape[-2:]
    by_row = tensor.detach().reshape(rows, -1, tokens, dim)
    heads = max(1, by_row.shape[1] // windows)
    by_row = by_row.reshape(rows, -1, heads, tokens, dim).transpose(2, 3).flatten(3).flatten(1, 2).float()
    projected: Tensor = by_row @ _projection(by_row.shape[-1], by_row.device)
    return projected


def _projection(size: int, device: torch.device) -> Float[Tensor, "size features"]:
    if size <= FEATURES:
        return torch.eye(size, device=device)
    generator = torch.Generator().manual_seed(size)
    projection: Tensor = torch.randn(size, FEATURES, generator=generator) / FEATURES**0.5
    return projection.to(device)


def change_of(
    tokens: Float[Tensor, "*rows tokens features"], before: Float[Tensor, "tokens features"]
) -> Float[Tensor, "*rows tokens"]:
    """How far each token has moved, as a share of the usual size of tokens."""
    size = before.norm(dim=-1).median().clamp_min(1e-12)
    moved: Tensor = (tokens - before).norm(dim=-1) / size
    return moved


def has_own_queries(
    call: AttentionCall, queries: Tensor | None, changes: Float[Tensor, "copies keys"]
) -> bool:
    """Whether the queries, as many as the keys, are other tokens: they don't change with the same copies.

    The rows are the image twice, its changed copies, and one more.
    """
    if not bool(changes.max() > 0):
        return False
    moved = _query_changes(call, queries, changes)
    return moved is not None and unlike(moved, changes)


def stand_elsewhere(
    call: AttentionCall, queries: Tensor | None, changes: Float[Tensor, "copies keys"]
) -> bool:
    """Whether the queries, fewer than the keys, are other tokens than the first of these.

    Keys of a layer's own may stand in front.

    The rows are as for :func:`has_own_queries`.
    """
    count = call.query.shape[-2]
    moved = _query_changes(call, queries, changes) if count < changes.shape[-1] else None
    if moved is None or moved.shape[-1] != count:
        return False
    allowed = 1e-3 * float(changes.max())
    first = changes[:, :count]
    if not bool(moved.max() > allowed) or not bool(first.max() > allowed):
        return bool(moved.max() > allowed) or bool(first.max() > allowed)
    return unlike(moved, first)


def _query_changes(
    call: AttentionCall, queries: Tensor | None, changes: Float[Tensor, "copies keys"]
) -> Float[Tensor, "copies queries"] | None:
    """How much each query changes with each changed copy; None where that can't be known."""
    if queries is not None:
        return change_of(queries[2:-1], queries[1])
    # Of eager attention S is known: where a key hasn't changed, only a change of the query changes it.
    still = changes.amax(dim=0) < 1e-3 * changes.max()
    rows = len(changes) + 3
    if call.mask is None or call.mask.dim() < 3 or not still.any() or windows_of(call, rows) > 1:
        return None
    scores = with_head_dimension(call, rows).mask
    assert scores is not None
    if scores.shape[0] != rows:
        return None
    seen = scores[..., still].detach().float()
    usual = (
        (seen[1] - seen[1].mean(dim=-2, keepdim=True)).abs().mean().clamp_min(1e-12)
    )  # between its queries
    moved = (seen[2:-1] - seen[1:2]).abs() / usual
    return moved.flatten(3).mean(dim=(1, 3)) if moved.dim() == 4 else moved.mean(dim=-1)


def unlike(queries: Float[Tensor, "copies queries"], keys: Float[Tensor, "copies keys"]) -> bool:
    """Whether queries and keys change with different copies."""
    if queries.shape != keys.shape:
        return True
    if not bool(queries.max() > 0.01 * keys.max()):
        return True
    pair = torch.stack([queries.flatten(), keys.flatten()])
    if bool((pair.std(dim=1) == 0).any()):
        return False
    return float(torch.corrcoef(pair)[0, 1]) < 0.5


def unmixed(call: AttentionCall, features: Tensor, mixed: int = 0, own_queries: bool | None = None) -> Tensor:
    """The call's answer in which each token gets its own value; queries of their own get nothing.

    Args:
        call, features: the call, and its keys and values per row.
        mixed: how many of the first rows are answered as the model does.
        own_queries: whether the queries are other tokens than the keys; None: told by their number.
    """
    rows = len(features)
    output = first_of(call, mixed, rows).run() if mixed else None
    value = call.value
    if call.enable_gqa:
        value = value.repeat_interleave(call.query.shape[-3] // value.shape[-3], dim=-3)
    shape = (*call.query.shape[:-1], value.shape[-1])
    if own_queries if own_queries is not None else call.query.shape[-2] != value.shape[-2]:
        value = value.new_zeros(shape)
    value = value.expand(shape)
    if output is None:
        return value.clone()
    return torch.cat([output, value[len(output) :]])


def first_of(call: AttentionCall, images: int, rows: int) -> AttentionCall:
    """The call for the first of the images alone, all of which are its rows."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[: images * (tensor.shape[0] // rows)]

    mask = call.mask
    if mask is not None and mask.dim() == call.query.dim() and mask.shape[0] == call.query.shape[0]:
        mask = cut(mask)
    return replace(call, query=cut(call.query), key=cut(call.key), value=cut(call.value), mask=mask)


def answer_apart(call: AttentionCall, upstream: Upstream) -> Tensor:
    """Answers a call whose tensors have no row per image, as long as they don't depend on the images."""
    if IMAGE in upstream.of(call.query, call.key, call.value, call.mask):
        raise NotTogetherError
    return call.run()

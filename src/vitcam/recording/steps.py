"""What each block does to its tokens: what attention passes on of them, and what they are in front, between, behind.

Attention sums up values, behind a projection. What a token passes on is therefore its value times the projection's
weight. That weight isn't asked for: it is that of the linear layer which is given exactly what attention gave, and it
proves itself by what is added to the tokens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall, with_head_dimension
from vitcam.recording.blocks import block_input
from vitcam.recording.interception import intercept
from vitcam.recording.layout import CallSite, Layout
from vitcam.recording.onednn import fast_attention, linear_layer
from vitcam.recording.passes import Sites
from vitcam.recording.suffix import watched_norms

Measured = TypeVar("Measured")
Tokens = Float[Tensor, "batch tokens channels"]


@dataclass(frozen=True)
class Step:
    """One block of a pre-norm transformer, in float32.

    Attributes:
        before: the tokens that enter it.
        passed: what each of them gives to a token that attends to it alone: its value behind the projection, without
            that one's bias, and scaled where the layer scales what attention adds.
        between: the tokens behind attention, what they were before included.
        after: the tokens that leave it.
    """

    before: Tokens
    passed: Tokens
    between: Tokens
    after: Tokens


def each_step(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    layout: Layout,
    measure: Callable[[Step], Measured],
) -> list[Measured]:
    """Runs a model and measures each of its blocks as soon as it ran, so that no more than one is held.

    Args:
        model: in the state in which it is recorded.
        images: what it runs on.
        layout: its structure.
        measure: what is kept of a block.

    Raises:
        ModelError: its blocks aren't of the kind that adds to its tokens what attention's projection gives, and then
            what a token-wise layer does.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> lengths = each_step(model, images, layout, lambda step: step.passed.norm(dim=-1))
        >>> len(lengths), lengths[0].shape
        (12, torch.Size([8, 197]))
    """
    blocks = _blocks_of(layout)
    found: list[Measured] = []
    batch, seen, sites = len(images), _Seen(), Sites(model, layout)

    def attend(call: AttentionCall) -> Tensor:
        site = sites.next(call)
        if site.stream is None or site.pools:
            return call.run()
        by_head = with_head_dimension(call, batch)
        output = fast_attention(by_head)
        seen.output, seen.value = _by_token(output), _by_token(by_head.value)
        return output.clone().reshape(*call.query.shape[:-1], output.shape[-1])

    def linear(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.look_at_linear(given, weight, bias)
        return linear_layer(given, weight, bias)

    def leave(tokens: Tensor) -> None:
        try:
            found.append(measure(seen.step(tokens)))
        except ModelError as error:
            raise ModelError(f"{blocks[len(found)][0]}: {error}") from error
        seen.clear()

    with torch.no_grad(), contextlib.ExitStack() as undo:
        for name, site in blocks:
            undo.enter_context(_watched(model, layout, batch, name, site, seen, leave))
        with intercept(attend, linear=linear, eager=layout.eager):
            model(images)
    return found


def _blocks_of(layout: Layout) -> list[tuple[str, CallSite]]:
    """The blocks, each with its only attention call."""
    calls = [site for site in layout.layers if not site.pools]
    alike = len(calls) == len(layout.blocks) and all(
        f"{site.name}.".startswith(f"{name}.") and site.queries == site.keys
        for name, site in zip(layout.blocks, calls, strict=True)
    )
    if layout.obstacle or not alike:
        raise ModelError(
            layout.obstacle or "not each of its blocks makes one attention call among all of its tokens"
        )
    return list(zip(layout.blocks, calls, strict=True))


@dataclass
class _Seen:
    """What was seen of the block that is running."""

    before: Tensor | None = None
    output: Tensor | None = None
    value: Tensor | None = None
    projection: tuple[Tensor, Tensor | None] | None = None
    between: Tensor | None = None
    fields: tuple[str, ...] = field(
        default=("before", "output", "value", "projection", "between"), repr=False
    )

    def clear(self) -> None:
        for name in self.fields:
            setattr(self, name, None)

    def look_at_linear(self, given: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        if self.output is None or self.projection is not None or given.dim() != 3:
            return
        for tokens in (given, given.transpose(0, 1)):
            if tokens.shape == self.output.shape and torch.equal(tokens, self.output.to(tokens.dtype)):
                self.projection = weight, bias

    def step(self, after: Tensor) -> Step:
        if self.before is None:
            raise ModelError("it isn't given all of its tokens in one tensor")
        if self.output is None or self.value is None or self.projection is None:
            raise ModelError("what attention gives doesn't go straight into a linear layer, its projection")
        if self.between is None:
            raise ModelError("no norm reads its tokens behind attention")
        weight, bias = self.projection
        before, between = self.before.float(), self.between.float()
        with torch.autocast(before.device.type, enabled=False):
            projected = F.linear(self.output.float(), weight.float(), None if bias is None else bias.float())
            passed = F.linear(self.value.float(), weight.float())
        scale = _scale(projected, between - before, 1e-3 if self.output.dtype == torch.float32 else 5e-2)
        return Step(before, passed * scale, between, after.float())


def _scale(projected: Tokens, added: Tokens, tolerance: float) -> Float[Tensor, " channels"]:
    """What each channel is scaled with before it is added, as by a layer scale; 1 where it is added as it is.

    Raises:
        ModelError: something else is added.
    """
    largest = added.abs().max() * tolerance
    if (added - projected).abs().max() <= largest:
        return projected.new_ones(projected.shape[-1])
    flat, other = projected.flatten(0, -2), added.flatten(0, -2)
    scale = (flat * other).sum(dim=0) / flat.square().sum(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
    if (added - projected * scale).abs().max() > largest:
        raise ModelError(
            "what it adds to its tokens isn't what attention's projection gives (a norm stands behind it, or a "
            "second branch beside it)"
        )
    return scale


@contextlib.contextmanager
def _watched(
    model: nn.Module,
    layout: Layout,
    batch: int,
    name: str,
    site: CallSite,
    seen: _Seen,
    leave: Callable[[Tensor], None],
) -> Iterator[None]:
    """Keeps what goes into a block and what reads its tokens behind attention; ``leave`` gets what comes out."""
    here = threading.get_ident()

    def batch_first(tokens: Tensor) -> Tensor:
        return tokens.transpose(0, 1) if layout.tokens_first else tokens

    def enter(tokens: Tensor) -> Tensor:
        seen.before = tokens.clone()
        return tokens

    def told(path: str, given: Tensor, output: Tensor) -> None:
        inside = f"{path}.".startswith(f"{site.name}.") and site.name != name
        if seen.value is not None and seen.between is None and not inside and given.dim() == 3:
            seen.between = batch_first(given).clone()

    def left(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == here:
            leave(batch_first(output[0] if isinstance(output, tuple | list) else output))

    with (
        block_input(model, name, batch, layout.tokens, enter, tokens_first=layout.tokens_first),
        watched_norms(model, name, told),
    ):
        handle = model.get_submodule(name).register_forward_hook(left)
        try:
            yield
        finally:
            handle.remove()


def _by_token(values: Float[Tensor, "batch heads tokens dim"]) -> Tokens:
    return values.transpose(1, 2).flatten(2)

"""Forward passes whose attention layers are recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import Attention, AttentionCall, among_all_tokens, with_head_dimension
from vitcam.recording.blocks import module_stack
from vitcam.recording.interception import Linear, intercept
from vitcam.recording.layout import CallSite, Layout
from vitcam.recording.onednn import fast_attention, fast_linear, linear_layer
from vitcam.recording.points import Point
from vitcam.recording.rules import RuledPass, Rules
from vitcam.recording.tokens import TokenPlaces, recorded_places


@dataclass(frozen=True)
class Pass:
    """What one forward pass gave.

    Attributes:
        output: the model's.
        layers: its attention layers, in the order of the calls.
        features: feature maps by their points, where they were recorded and found.
        blocks: what each transformer block returned, by name, where it was recorded.
        cut: whether the model itself ran attention without gradients, so that none comes back to it.
        places: the tokens between the blocks, where they were recorded.
        ruled: the rules at work, if gradients go back by rules.
    """

    output: Any
    layers: tuple[Attention, ...]
    features: Mapping[Point, Tensor] = field(default_factory=dict)
    blocks: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False
    places: TokenPlaces | None = None
    ruled: RuledPass | None = None


def plain_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    keep: Callable[[Attention], Attention] = lambda layer: layer,
    linear: Linear = linear_layer,
) -> Pass:
    """A forward pass without gradients, unless a hook puts in a tensor that requires one.

    ``keep`` says what is kept of each layer, as soon as it ran, itself or copies; ``linear`` computes the linear
    layers.
    """
    return _run(model, images, layout, lambda call, site: fast_attention(call), keep, linear)


def tracked_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    linear: Linear = linear_layer,
    only_outside: Collection[str] = (),
    rules: Rules | None = None,
) -> Pass:
    """A forward pass through which the ordinary gradient, or one by rules, can go back to every attention output.

    ``only_outside`` names blocks that do no work, and whose attention calls are left out.
    """

    def attend(call: AttentionCall, site: CallSite) -> Tensor:
        output = fast_attention(call)
        return output if output.requires_grad else output.requires_grad_()

    return _run(model, images, layout, attend, linear=linear, only_outside=only_outside, rules=rules)


def detached_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    rules: Rules | None = None,
) -> Pass:
    """A forward pass in which nothing goes back through a block's attention: its output is a leaf.

    The gradient reaches a layer only along the skip connections, the MLPs and the head, as in the
    AGCAM paper, where every attention block detaches its input. An attention that pools the tokens for
    the head is part of the head, and is gone back through.
    """

    def attend(call: AttentionCall, site: CallSite) -> Tensor:
        if site.pools:
            output = fast_attention(call)
            return output if output.requires_grad else output.requires_grad_()
        with torch.no_grad():
            output = fast_attention(call)
        return output.detach().requires_grad_()

    if rules is None:
        return _run(model, images, layout, attend)
    # By rules it matters what comes from the image, which is told by where the graph begins.
    if layout.blocks:
        with recorded_places(model, layout, len(images), ()) as places:
            run = _run(model, images, layout, attend, rules=rules)
        if places.leaves:
            return run
    return _run(model, images.clone().requires_grad_().clone(), layout, attend, rules=rules)


def unrecorded_pass(
    model: nn.Module, images: Float[Tensor, "batch channels *space"], rules: Rules | None = None
) -> Pass:
    """A forward pass of which no layer is recorded, also through what a hook makes require a gradient."""
    cut = False

    def attend(call: AttentionCall) -> Tensor:
        nonlocal cut
        cut = cut or not torch.is_grad_enabled()
        output = fast_attention(call)
        # A copy where a gradient needs it, since models write over what they are given.
        return output.clone() if output.requires_grad else output

    with (
        torch.enable_grad(),
        _by(rules, images) as ruled,
        intercept(attend, linear=_seen(linear_layer, rules)),
    ):
        output = model(images)
        if ruled is not None:
            ruled.check(output)
        return Pass(output, (), cut=cut, ruled=ruled)


@contextlib.contextmanager
def _by(rules: Rules | None, images: Tensor) -> Iterator[RuledPass | None]:
    if rules is None:
        yield None
        return
    with fast_linear(), rules.applied(len(images)) as ruled:
        yield ruled


def _seen(linear: Linear, rules: Rules | None) -> Linear:
    """What computes linear layers so that rules see them."""
    return linear if rules is None else F.linear


def _run(
    model: nn.Module,
    images: Tensor,
    layout: Layout,
    attend: Callable[[AttentionCall, CallSite], Tensor],
    keep: Callable[[Attention], Attention] = lambda layer: layer,
    linear: Linear = linear_layer,
    only_outside: Collection[str] = (),
    rules: Rules | None = None,
) -> Pass:
    layers: list[Attention] = []
    sites, cut = Sites(model, layout, only_outside), False
    with module_stack(model, frozenset(site.name for site in layout.calls)) as stack:

        def answer(call: AttentionCall) -> Tensor:
            nonlocal cut
            site = sites.next(call, stack[-1] if stack else "")
            if site.stream is None:
                return call.run()
            cut = cut or not torch.is_grad_enabled()
            by_head = with_head_dimension(call, images.shape[0])
            output = attend(by_head, site)
            seen = among_all_tokens(by_head, layout.tokens, layout.grid.patches) if site.pools else by_head
            read = _detached(seen, copied=layout.written_over)
            layer = keep(Attention(site.name, site.pools, read, output, stream=site.stream))
            layers.append(layer)
            # A copy of what is kept, since models write over what they are given: gates, biases added in place.
            given = output.clone() if layer.output is output else output
            return given.reshape(*call.query.shape[:-1], output.shape[-1])

        with (
            torch.enable_grad(),
            _by(rules, images) as ruled,
            intercept(answer, linear=_seen(linear, rules), eager=layout.eager),
        ):
            result = model(images)
            if ruled is not None:
                ruled.check(result)
    sites.finish()
    return Pass(result, tuple(layers), cut=cut, ruled=ruled)


class Sites:
    """The attention calls that a model was measured to make, one after the other; any other is an error.

    Args:
        model, layout: the model and its structure.
        only_outside: names of blocks whose calls are left out.
    """

    def __init__(self, model: nn.Module, layout: Layout, only_outside: Collection[str] = ()) -> None:
        skipped = tuple(f"{name}." for name in only_outside)
        self._calls = [site for site in layout.calls if not f"{site.name}.".startswith(skipped)]
        self._model, self._next = model, 0
        self._any_size = bool(layout.obstacle)

    def next(self, call: AttentionCall, name: str | None = None) -> CallSite:
        """Where the next call is made.

        Args:
            call: the call.
            name: the module that makes it, where that is known.

        Raises:
            ModelError: it isn't the one that was measured.
        """
        site = self._calls[self._next] if self._next < len(self._calls) else None
        self._next += 1
        sizes = (call.query.shape[-2], call.value.shape[-2])
        if (
            site is None
            or name not in (None, site.name)
            or (sizes != (site.queries, site.keys) and not self._any_size)
        ):
            raise self._other(
                f"call {self._next} is made in {name or 'it'} with {sizes[0]} queries and {sizes[1]} keys"
            )
        return site

    def finish(self) -> None:
        """Makes sure that all of them were made.

        Raises:
            ModelError: they weren't.
        """
        if self._next != len(self._calls):
            raise self._other(f"{self._next} calls are made and not {len(self._calls)}")

    def _other(self, what: str) -> ModelError:
        return ModelError(
            f"{type(self._model).__name__} makes other attention calls than when its structure was measured: {what}. "
            "Does what it computes depend on what is in an image, or on the number of images? Explain images one by "
            "one (batch_size=1), or a model without that. vitcam.inspect(model, images) shows what was measured"
        )


def _detached(call: AttentionCall, *, copied: bool) -> AttentionCall:
    def taken(tensor: Tensor) -> Tensor:
        return tensor.detach().clone() if copied else tensor.detach()

    mask = None if call.mask is None else taken(call.mask)
    return replace(call, query=taken(call.query), key=taken(call.key), value=taken(call.value), mask=mask)

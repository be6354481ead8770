"""Hooks that see, and may change, what a model gives at its points."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from vitcam.errors import MethodError
from vitcam.recording.layout import Layout
from vitcam.recording.points import Point, Site, site_of


@contextlib.contextmanager
def recorded_features(
    model: nn.Module, layout: Layout, batch: int, wanted: Mapping[Point, bool]
) -> Iterator[dict[Point, Tensor]]:
    """From points to what the model gave there, behind the ``with``; a point that wasn't met isn't among them.

    The pass inside the ``with`` must run with gradients enabled. Without any other tensor that requires one, all that
    comes before the first point whose gradient is wanted costs what it costs without.

    Args:
        model, layout: the model and its structure.
        batch: the number of images.
        wanted: the points, and whether what is there must require a gradient.
    """
    found: dict[Point, Tensor] = {}
    with contextlib.ExitStack() as undo:
        watches = {}
        for point, requires_grad in wanted.items():
            site = site_of(model, layout, point)

            def keep(activation: Tensor, requires_grad: bool = requires_grad) -> Tensor:
                if requires_grad and not activation.requires_grad:
                    return activation.detach().requires_grad_()
                return activation

            watches[point] = site, undo.enter_context(_watched(model, layout, batch, site, keep))
        yield found
    for point, (site, seen) in watches.items():
        activation = site.chosen(seen)
        if activation is not None:
            found[point] = activation


@contextlib.contextmanager
def changed_features(
    model: nn.Module, layout: Layout, batch: int, point: Point, change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Inside the ``with`` the model goes on with something else in the place of a feature map.

    Args:
        model, layout, batch: as for :func:`recorded_features`.
        point: where.
        change: from the activation, batch first, to what stands in its stead.

    Raises:
        MethodError: the model passes that point several times, as with layers that share weights.
    """
    site = site_of(model, layout, point)
    with _watched(model, layout, batch, site, change) as each:
        yield
    if len(each) > 1:
        raise MethodError(
            f"{type(model).__name__} comes to {point} {len(each)} times in a pass, with layers that share weights, "
            "so that it can't be changed for one of them alone. Choose another layer"
        )


@contextlib.contextmanager
def _watched(
    model: nn.Module, layout: Layout, batch: int, site: Site, change: Callable[[Tensor], Tensor]
) -> Iterator[list[Tensor | None]]:
    """A list with what a site gave at each of its block's calls, changed; None where no tensor of all images."""
    here = threading.get_ident()
    each: list[Tensor | None] = []
    passed = [0]

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == here:
            each.append(None)
            passed[0] = 0

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        holder = output if isinstance(output, tuple) else (output,)
        if threading.get_ident() != here or not holder or not isinstance(holder[0], Tensor):
            return None
        if not each or each[-1] is not None:
            return None
        batch_first = holder[0].dim() != 3 or not layout.tokens_first
        activation = holder[0] if batch_first else holder[0].transpose(0, 1)
        if activation.shape[0] != batch:  # tokens of all images in one row
            return None
        passed[0] += 1
        if passed[0] < site.number:
            return None
        each[-1] = activation = change(activation)
        # A copy, since models write over what they are given.
        given = (activation if batch_first else activation.transpose(0, 1)).clone()
        return (given, *output[1:]) if isinstance(output, tuple) else given

    with contextlib.ExitStack() as undo:
        if site.block is not None:
            undo.callback(site.block.register_forward_pre_hook(enter).remove)
        for module in site.modules:
            undo.callback(module.register_forward_hook(hook).remove)
        yield each

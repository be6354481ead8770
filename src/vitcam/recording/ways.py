"""The ways in which a model may have to be run: in which precision it takes images, and with which attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vitcam.errors import OneByOneError
from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.preserved import alone_with, attention_switches, preserved
from vitcam.recording.state import state_of

Result = TypeVar("Result")
_working: WeakKeyDictionary[nn.Module, dict[Any, Way]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Way:
    """How a model is run.

    Attributes:
        dtype: in which it takes images.
        fused: whether its switches between fused and written-out attention are set to fused. Some models need
            their written-out attention maps.
    """

    dtype: torch.dtype
    fused: bool


def first_that_works(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    run: Callable[[Way], Result],
    inputs: Inputs = NO_INPUTS,
) -> Result:
    """What ``run`` gives in the first way that works; the way is remembered with the model.

    Args:
        model: the model, as it is.
        images: as they were given.
        run: does the work. Whatever it raises, other ways are tried, if there are any.
        inputs: what the model is given besides the images.

    Raises:
        Whatever ``run`` raised in the first way, if it works in none.
    """
    with alone_with(model):
        return _first_that_works(model, images, run, inputs)


def _first_that_works(
    model: nn.Module, images: Tensor, run: Callable[[Way], Result], inputs: Inputs
) -> Result:
    key = (images.dtype, images.shape[1:], state_of(model), inputs.key)
    remembered = _working.setdefault(model, {})
    if key in remembered:
        return run(remembered[key])
    first: Exception | None = None
    for way in _ways(model, images, inputs):
        try:
            result = run(way)
        except OneByOneError:
            raise
        except Exception as error:
            first = first or error
            continue
        if len(remembered) > 32:
            remembered.clear()
        remembered[key] = way
        return result
    assert first is not None
    raise first


def _ways(model: nn.Module, images: Tensor, inputs: Inputs) -> Iterator[Way]:
    """As the images are first, then in the precisions of the model's weights, the largest part of them first."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize > 1:
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    weights = sorted(sizes, key=lambda dtype: -sizes[dtype])
    for dtype in dict.fromkeys((images.dtype, *weights)):
        if not attention_switches(model):
            yield Way(dtype, True)
            continue
        of_one = inputs.of(0, 1) if dtype == images.dtype else inputs.of(0, 1).to_dtype(dtype)
        with bound(model, of_one):
            same = _same_when_fused(model, images[:1].to(dtype))
        if same:
            yield Way(dtype, True)
        yield Way(dtype, False)


def _same_when_fused(model: nn.Module, image: Float[Tensor, "1 channels height width"]) -> bool:
    """Whether the model gives the same with fused attention as with its own."""
    outputs = []
    for fused in (False, True):
        try:
            with preserved(model, fused=fused), torch.no_grad():
                output = model(image.clone())  # some write into it
        except Exception:  # the model's own; the way in which it fails isn't taken, or says so when it is
            return False
        outputs.append([leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)])
    own, other = outputs
    return len(own) == len(other) and all(
        a.shape == b.shape and bool(((a - b).abs() <= 1e-2 * a.abs().max().clamp_min(1e-6)).all())
        for a, b in zip(own, other, strict=True)
        if a.is_floating_point()
    )

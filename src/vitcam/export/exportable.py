"""What can be exported, and errors that say so before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.export.description import Classes
from vitcam.export.maps import EXPORTABLE
from vitcam.methods import Method, find_method
from vitcam.recording import Facts, Overrides, Score, facts_of, logits_of

LARGEST_MAP = 2**30  # bytes per image and layer

_CHOICES: dict[Classes, Callable[[Tensor], Tensor]] = {
    "top1": lambda logits: logits.argmax(dim=1, keepdim=True),
    "top5": lambda logits: logits.topk(5, dim=1).indices,
    "all": lambda logits: torch.arange(logits.shape[1]).expand(logits.shape[0], -1),
}


def exportable_method(name: str) -> tuple[Method, dict[str, Any]]:
    """A method that can be exported, and its options, from a name such as ``"agcam(layers='last:4')"``.

    Raises:
        MethodError: there is no such method or option, or it can't be exported.
    """
    method, options = find_method(name)
    changed = {option for option, value in options.items() if value != method.options[option]}
    if not changed <= set(EXPORTABLE.get(method.name, ())) or method.name not in EXPORTABLE:
        known = "; ".join(f"{name} (options: {', '.join(options)})" for name, options in EXPORTABLE.items())
        raise MethodError(
            f"{name!r} can't be exported. What can: {known}. "
            "Others need gradients through the whole model, or passes of their own"
        )
    return method, options


def choice_of(classes: str) -> Callable[[Tensor], Tensor]:
    """From logits (batch, classes) to the indices (batch, targets) of the classes to explain.

    Raises:
        TargetError: it is none of the three.
    """
    for known, choose in _CHOICES.items():
        if classes == known:
            return choose
    raise TargetError(f"classes must be one of {', '.join(get_args(Classes))}; got {classes!r}")


def structure(module: nn.Module, image: Float[Tensor, "1 3 height width"], classes: str) -> Facts:
    """What is known about a model that can be exported.

    Args:
        module: in the state in which it is explained.
        image: any, of the size that is to be exported.
        classes: which are to be explained.

    Raises:
        ModelError: the model isn't in fp32, gives no logits, isn't made of layers that all attend over the same
            tokens, row by row, or its patches don't cover the whole image.
        TargetError: it has fewer than five classes, or too many to explain all of them at once.
    """
    kinds = {weight.dtype for weight in module.parameters()} - {torch.float32}
    if kinds:
        found = ", ".join(str(kind).removeprefix("torch.") for kind in kinds)
        raise ModelError(
            f"only models in fp32 can be exported; this one has weights in {found}: model.float()"
        )
    facts = facts_of(module, image, Score(choose=_CHOICES["top1"]), Overrides())
    if reason := _obstacle(facts, (image.shape[-2], image.shape[-1])):
        raise ModelError(
            f"{type(module).__name__} can't be exported: {reason}. What can are Vision Transformers whose "
            "layers all attend over the same tokens, with a head that reads the class token or the mean"
        )
    with torch.no_grad():
        count = logits_of(module(image)).shape[1]
    if classes == "top5" and count < 5:
        raise TargetError(f"classes='top5' asks for 5 classes; this model has {count}")
    size = 4 * count * facts.layout.tokens**2
    if classes == "all" and not facts.replays and size > LARGEST_MAP:
        raise TargetError(
            f"all {count} classes at once would take {size / 2**30:.0f} GiB per image and head, since this model's "
            "head reads all tokens; use 'top5'"
        )
    return facts


def _obstacle(facts: Facts, size: tuple[int, int]) -> str:
    if facts.layout.obstacle:
        return facts.layout.obstacle
    if facts.pools:
        return "its head reads the tokens through an attention of its own"
    layout = facts.layout
    if len(layout.streams) > 1:
        return f"it has {len(layout.streams)} streams of tokens of the image, whose maps add up"
    if len(layout.layers) < len(layout.calls):
        return "some of its attention calls aren't layers of the image's tokens"
    if layout.grid.order:
        return "its tokens don't follow one another row by row"
    if layout.grid.region is not None:
        covered = ", ".join(f"{edge:g}" for edge in layout.grid.region)
        return (
            f"its patches cover a part of the image only (top, left, bottom, right: {covered} of "
            f"{size[0]}×{size[1]} pixels), which the graph couldn't say. Crop or resize images in front of the model"
        )
    if not layout.together:
        return "it takes images one by one"
    return "" if layout.blocks else "its transformer blocks weren't found"

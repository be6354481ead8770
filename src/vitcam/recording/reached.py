"""Whether gradients come back from a score to the attention layers, and why they don't."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.passes import Pass
from vitcam.recording.score import Scorer


def why_unreached(model: nn.Module, run: Pass, scorer: Scorer) -> str:
    """What cuts gradients on their way from the score to attention; "" if nothing is known to."""
    name = type(model).__name__
    if run.cut:
        return (
            f"{name} runs attention layers without gradients itself (under torch.no_grad, as for a frozen "
            "backbone), so that none comes back to them. Freeze weights with requires_grad_(False) instead"
        )
    reached = [*(layer.output for layer in run.layers), *([] if run.norm is None else [run.norm])]
    if any(tensor.requires_grad for tensor in reached):
        scores = scorer(run.output)
        if not scores.requires_grad:
            return (
                f"between its attention layers and its output {name} cuts gradients (detach, torch.no_grad, or "
                "a function without a gradient, such as int8 layers)"
            )
    return ""


def check_reached(
    found: Iterable[Float[Tensor, "batch targets ..."]], targets: Int[Tensor, "batch targets"], why: str
) -> None:
    """Makes sure that no target has a gradient of zero in every layer; looks at no more of them than it takes.

    Raises:
        ModelError: one has.
    """
    reached = torch.zeros_like(targets, dtype=torch.bool)
    for gradient in found:
        reached = reached | (gradient != 0).flatten(2).any(dim=2)
        if reached.all():
            return
    if why:
        raise ModelError(f"{why}. attention and rollout need no gradient and work on it")
    image, target = (~reached).nonzero()[0].tolist()
    index = int(targets[image, target])
    what = "the score that `targets` computes" if index < 0 else f"the logit of class {index}"
    raise ModelError(
        f"the gradient of {what} is exactly zero at every attention layer (image {image} of the batch), so "
        "there is nothing to explain. Is the head initialised with zeros, or does the score not depend on "
        "the image?"
    )

"""What a model makes of many perturbed images: class probabilities, a batch at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.errors import TargetError
from vitcam.probability import to_probabilities
from vitcam.recording import Precision, autocast, fast_linear, logits_of, preserved

BATCH_SIZE = 16


@dataclass(frozen=True)
class Removal:
    """A perturbed image: one of the images, some of whose pixels are replaced.

    Attributes:
        image: its index.
        pixels: says which of its pixels (row · width + column) are replaced, when it is their turn; True for
            all of them, False for none.
    """

    image: int
    pixels: Callable[[], Bool[Tensor, " pixels"]] | bool


def removal_probabilities(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    fills: Float[Tensor, "batch channels ..."],
    removals: Sequence[Removal],
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Float[Tensor, "removals classes"]:
    """The class probabilities of every perturbed image, in fp32; removed pixels come from ``fills``.

    Equal removals are computed once, above all the untouched image, which every curve of it begins with.
    """
    distinct = list(dict.fromkeys(removals))
    place = {removal: i for i, removal in enumerate(distinct)}
    pixels = math.prod(images.shape[2:])

    def removed(removal: Removal) -> Bool[Tensor, " pixels"]:
        if isinstance(removal.pixels, bool):
            return torch.full((pixels,), removal.pixels, device=images.device)
        return removal.pixels().to(images.device)

    def perturbed(items: range) -> Float[Tensor, "items channels *space"]:
        chosen = [distinct[item].image for item in items]
        masks = torch.stack([removed(distinct[item]) for item in items])
        return torch.where(masks.view(len(items), 1, *images.shape[2:]), fills[chosen], images[chosen])

    probabilities = class_probabilities(
        model, perturbed, len(distinct), multi_label=multi_label, precision=precision, batch_size=batch_size
    )
    return probabilities[[place[removal] for removal in removals]]


def class_probabilities(
    model: nn.Module,
    images_of: Callable[[range], Float[Tensor, "items ..."]],
    count: int,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Float[Tensor, "count classes"]:
    """softmax(logits), or with ``multi_label`` sigmoid(logits), in fp32, of images made when it is their turn.

    A single logit has its sigmoid, as in :func:`vitcam.probability.to_probabilities`.

    On the CPU, wherever the model runs.

    Args:
        model: returns logits; left exactly as it was.
        images_of: from a range of at most ``batch_size`` items to their images.
        count: how many items there are.
        multi_label: whether classes don't exclude each other, so that each has a probability of its own.
        precision: of the forward pass; "bf16" and "fp16" by autocast.
        batch_size: images in one forward pass.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    batches = [range(first, min(first + batch_size, count)) for first in range(0, count, batch_size)]
    probabilities = []
    with preserved(model), torch.no_grad():
        for items in batches:
            images = images_of(items).to(dtype)
            with _arithmetic(images.device, precision):
                logits = logits_of(model(images))
            probabilities.append(to_probabilities(logits.float(), multi_label))
    # On the CPU, float64 works whatever the device.
    return torch.cat(probabilities).cpu()


def of_targets(
    probabilities: Float[Tensor, "*points classes"], targets: Int[Tensor, " batch"]
) -> Float[Tensor, "*points"]:
    """Each explanation's probability of its target class; the first dimension is the targets'.

    Raises:
        TargetError: a target isn't one of the model's classes.
    """
    classes = probabilities.shape[-1]
    wrong = [int(target) for target in targets if not 0 <= target < classes]
    if wrong:
        raise TargetError(
            f"expected targets in 0..{classes - 1}, the model's {classes} classes, got {wrong[0]}"
        )
    shape = (-1, *[1] * (probabilities.dim() - 1))
    index = targets.to(probabilities.device).long().view(shape).expand(*probabilities.shape[:-1], 1)
    return probabilities.gather(-1, index).squeeze(-1)


@contextlib.contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """The precision asked for, as of ``explain``, whatever the caller has switched on around it."""
    with autocast(device, precision), fast_linear():
        yield

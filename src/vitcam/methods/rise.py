"""RISE (Petsiuk et al., BMVC 2018, arXiv 1806.07421): what randomly masked images score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, Sampled
from vitcam.methods.options import at_least, one_of
from vitcam.methods.passes import REMOVALS, Passes, generator_of, many_passes
from vitcam.methods.pixels import cells_of, means_over_patches
from vitcam.recording import Need, Recording


def rise(
    recording: Recording,
    *,
    budget: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
    by: str = "pixels",
    output: str = "probability",
    seed: int = 0,
) -> Sampled:
    """The mean of the scores of randomly masked images, each weighed by how much of a patch it shows.

    ::

        map_j = 1/E[m] · mean_i  y(x ⊙ m_i) · m_ij

    with m_i random masks: a grid of ``cells`` × ``cells``, each kept with probability ``keep``, enlarged smoothly and
    shifted at random; m_ij is the mean of m_i over patch j. The standard error is that of the mean over i.

    Deviations: the paper takes 4,000 masks, or 8,000; here it is what you can afford, and the errors say whether it
    was enough. With ``by="tokens"`` or ``"attention"`` nothing is painted: whole cells of patches are left out in
    front of the first block, or hidden from attention, without enlargement or shift.

    Args:
        recording: any; its model is run again.
        budget: forward passes for each image; all of its classes share them.
        cells: rows and columns of the masks' grid, at most those of patches where these are left out.
        keep: the probability that a cell is shown.
        by: "pixels" multiplies the image by the mask, as the paper does; "tokens" and "attention" remove patches.
        output: what of a class is followed, "probability" as in the paper, or "logit".
        seed: of the masks, with the image's own values.

    Raises:
        MethodError: an option's value is wrong, or the model can't do without tokens.

    Returns:
        (batch, targets, patches), with standard errors. It takes ``budget`` forward passes; without tokens, that is
        about the cost of ``keep`` · ``budget``.

    Example:
        >>> e = vitcam.explain(photo_model, photo, method="rise", budget=100, cells=4)
        >>> e.heatmaps.shape == e.errors.shape
        True
    """
    at_least("rise", "budget", budget, 2, ", which an error can be estimated from")
    at_least("rise", "cells", cells, 1)
    at_least("rise", "seed", seed, 0)
    one_of("rise", "by", by, REMOVALS)
    if not 0 < keep < 1:
        raise MethodError(f"rise takes a probability between 0 and 1 as keep, such as 0.5; not {keep!r}")
    sample = _painted if by == "pixels" else _removed
    values, errors = [], []
    with many_passes(recording, output) as passes:
        for index, image in enumerate(recording.images):
            draw = generator_of(image, seed)
            scores, shown, expected = sample(passes, index, budget, cells, keep, by, draw)
            weighed = scores.T[:, :, None] * shown.to(scores) / expected  # targets, masks, patches
            values.append(weighed.mean(dim=1))
            errors.append(weighed.std(dim=1) / math.sqrt(budget))
    return Sampled(torch.stack(values), torch.stack(errors))


Drawn = tuple[Tensor, Tensor, float]


def _painted(
    passes: Passes, index: int, budget: int, cells: int, keep: float, by: str, draw: torch.Generator
) -> Drawn:
    image = passes.recording.images[index]
    size = tuple(image.shape[1:])
    masks = smooth_masks(size, budget, cells, keep, draw)
    shown: list[Tensor] = []

    def masked(part: slice) -> Tensor:
        some = masks(part)
        shown.append(means_over_patches(some, passes.recording.layout.grid))
        return image * some[:, None].to(image)

    scores = passes.of_images(index, budget, masked)
    return scores, torch.cat(shown), keep


def smooth_masks(
    size: tuple[int, ...], count: int, cells: int, keep: float, draw: torch.Generator
) -> Callable[[slice], Float[Tensor, some * space]]:
    """RISE's masks: random cells, enlarged bilinearly to a cell more than the image, and cut out at a random place.

    Example:
        >>> smooth_masks((32, 48), 10, 4, 0.5, torch.Generator())(slice(0, 3)).shape
        torch.Size([3, 32, 48])
    """
    grids = (torch.rand(count, 1, *[cells] * len(size), generator=draw) < keep).float()
    smooth = "bilinear" if len(size) == 2 else "trilinear"
    cell = [math.ceil(side / cells) for side in size]
    shifts: Int[Tensor, "masks axes"] = torch.stack(
        [torch.randint(side, (count,), generator=draw) for side in cell], dim=1
    )

    def some(part: slice) -> Tensor:
        large = F.interpolate(
            grids[part], [(cells + 1) * side for side in cell], mode=smooth, align_corners=False
        )
        places = zip(large[:, 0], shifts[part].tolist(), strict=True)
        return torch.stack(
            [
                mask[tuple(slice(start, start + side) for start, side in zip(corner, size, strict=True))]
                for mask, corner in places
            ]
        )

    return some


def _removed(
    passes: Passes, index: int, budget: int, cells: int, keep: float, by: str, draw: torch.Generator
) -> Drawn:
    grid = passes.recording.layout.grid
    number = cells_of(grid, cells)
    count = int(number.max()) + 1
    some = torch.rand(budget, count, generator=draw) < keep
    while not some.any(dim=1).all():  # a mask that keeps nothing is drawn anew
        empty = ~some.any(dim=1)
        some[empty] = torch.rand(int(empty.sum()), count, generator=draw) < keep
    kept: Bool[Tensor, "masks patches"] = some[:, number]
    return passes.without(index, kept, by), kept, keep / (1 - (1 - keep) ** count)


METHOD = Method(
    compute=rise,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="scores of randomly masked images, weighed by what they show",
    passes="budget × forward",
    paper="arXiv 1806.07421",
    plain_vit_only=False,
    many_passes=True,
)

"""Occlusion (Zeiler & Fergus, ECCV 2014, arXiv 1311.2901): what the score loses when a window is covered."""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Bool
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import at_least, one_of
from vitcam.methods.passes import REMOVALS, many_passes
from vitcam.recording import Need, Recording
from vitcam.types import PatchGrid


def occlusion(
    recording: Recording,
    *,
    size: int = 2,
    stride: int = 1,
    by: str = "pixels",
    fill: str = "zero",
    output: str = "logit",
) -> TokenMap:
    """How much the score falls when a window of patches is removed, averaged over the windows with a patch.

    ::

        map_j = mean over windows W ∋ j of  y(x) − y(x without W)

    Zeiler and Fergus slide a grey square over the image and show the score at its centre; here a patch has the mean
    of all windows that cover it, as in captum's ``Occlusion``. Windows are ``size`` × ``size`` patches, ``stride``
    apart; the last of a row ends at the border. With ``size=1`` it is ``captum:FeatureAblation``. No samples: exact.

    Args:
        recording: any; its model is run again.
        size: of a window's sides, in patches.
        stride: from a window to the next, in patches; at most ``size``.
        by: how patches are removed: "pixels" paints them over, "tokens" leaves their tokens out in front of the first
            block, "attention" lets no token attend to them.
        fill: the colour that pixels get: "zero" of the normalised image, which is the mean colour of most models'
            normalisation, or the "mean" of the image itself.
        output: what of a class is followed, "logit" or "probability".

    Raises:
        MethodError: an option's value is wrong, one window covers all patches, or the model can't do without tokens.

    Returns:
        (batch, targets, patches). It takes a forward pass per window: 169 for 14×14 patches.

    Example:
        >>> vitcam.explain(photo_model, photo, method="occlusion", size=4, stride=4).method
        'occlusion(size=4, stride=4)'
    """
    grid = recording.layout.grid
    at_least("occlusion", "size", size, 1)
    at_least("occlusion", "stride", stride, 1)
    one_of("occlusion", "by", by, REMOVALS)
    one_of("occlusion", "fill", fill, ("zero", "mean"))
    if stride > size:
        raise MethodError(
            f"occlusion with stride={stride} and size={size} leaves patches out: a stride is at most the size"
        )
    covered = windows(grid, size, stride)
    if len(covered) == 1 < covered.shape[1]:
        raise MethodError(
            f"occlusion with size={size} covers all {'×'.join(map(str, grid.shape))} patches at once, so that none "
            "can be told from another: use a smaller size"
        )
    maps = []
    with many_passes(recording, output) as passes:
        whole = passes.untouched()
        for index, image in enumerate(recording.images):
            colour = image.mean(dim=tuple(range(1, image.dim())), keepdim=True) if fill == "mean" else 0.0
            falls = whole[index] - passes.without(index, ~covered, by, colour)
            shares = covered.to(falls) / covered.sum(dim=0)
            maps.append(falls.T @ shares)
    return torch.stack(maps)


def windows(grid: PatchGrid, size: int, stride: int) -> Bool[Tensor, "windows patches"]:
    """The patches of each window, which together cover the grid.

    Example:
        >>> windows(PatchGrid(1, 4, prefix=1), size=2, stride=2).int().tolist()
        [[1, 1, 0, 0], [0, 0, 1, 1]]
    """
    corners = list(product(*(_starts(length, size, stride) for length in grid.shape)))
    covered = torch.zeros(len(corners), *grid.shape, dtype=torch.bool)
    for number, corner in enumerate(corners):
        covered[number][tuple(slice(start, start + size) for start in corner)] = True
    return covered.flatten(1)


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(0, length - size)
    return [*range(0, last, stride), last]


METHOD = Method(
    compute=occlusion,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="fall of the score when a window of patches is covered",
    passes="a forward for each window",
    paper="arXiv 1311.2901",
    plain_vit_only=False,
    many_passes=True,
)

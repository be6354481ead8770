"""The grid pointing game and Focus: how much of what speaks for a class lies in its tiles?"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.heatmap import upsample

NOTHING = 1e-7
"""A sum of positive values up to which a map says nothing for its class, as in the code of arXiv 2205.10435."""


def positive_inside(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """The share of the positive values that lies in the true region: Σ_{p∈T} max(L_p, 0) / Σ_p max(L_p, 0), in 0..1.

    L is upsampled to the mask (bilinear) and not scaled: zero is zero, and what speaks against the class counts
    nowhere.
    With a tile of a mosaic of different classes as region it is the localization score of the grid pointing game;
    with the two tiles of the target class it is Focus. By chance it is 1/grid² and 1/2. 0 for a map without positive
    values.

    Source: Böhle et al. 2021, arXiv 2104.00032, in the form of Rao et al. 2022, arXiv 2205.10435, which upsamples
    bilinearly; Arias-Duart et al. 2022, arXiv 2109.15035.

    Args:
        heatmaps: on the patch grid, raw.
        masks: the true regions.
        ignore: pixels that count nowhere.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> positive_inside(heatmaps - 0.1, masks)
        tensor([0.4881], dtype=torch.float64)
    """
    size = (masks.shape[1], masks.shape[2])
    positive = upsample(heatmaps.float().unsqueeze(1), size).squeeze(1).double().clamp(min=0)
    if ignore is not None:
        positive = positive.masked_fill(ignore, 0)
    total = positive.sum((1, 2))
    says = total > NOTHING
    return ((positive * masks).sum((1, 2)) / total.where(says, 1.0)).where(says, 0.0)


def measured(case: LocalizationCase) -> Numbers:
    """The column of ``grid-pointing``."""
    return {"positive_inside": positive_inside(case.heatmaps, case.regions, case.void)}

"""The energy-based pointing game: how much of the heat is on the object?"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import pixel_maps


def energy_inside(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """The share of the heatmap's sum that lies in the true region: Σ_{p∈T} L_p / Σ_p L_p, in 0..1.

    L is upsampled to the mask (bilinear) and min-maxed, so that it isn't negative. By chance it is the region's
    share of the image, so large objects score high with any map. 0 for a constant map.

    Source: Wang et al. 2020, Score-CAM, arXiv 1910.01279, who take boxes as regions.

    Args:
        heatmaps: on the patch grid.
        masks: the true regions.
        ignore: pixels that count nowhere.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> energy_inside(heatmaps, masks)
        tensor([0.4844], dtype=torch.float64)
    """
    maps = pixel_maps(heatmaps, (masks.shape[1], masks.shape[2])).double()
    if ignore is not None:
        maps = maps.masked_fill(ignore, 0)
    total = maps.sum((1, 2))
    return (maps * masks).sum((1, 2)) / total.where(total > 0, 1.0)


def measured(case: LocalizationCase) -> Numbers:
    """The column of ``energy``."""
    return {"energy": energy_inside(case.heatmaps, case.regions, case.void)}

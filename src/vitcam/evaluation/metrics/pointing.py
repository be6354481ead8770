"""The pointing game: is the hottest pixel on the object?"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import pixel_maps

ZHANG_TOLERANCE = 15.0


def pointing_game(
    heatmaps: Float[Tensor, "batch rows columns"],
    masks: Bool[Tensor, "batch height width"],
    tolerance: float = 0.0,
    ignore: Bool[Tensor, "batch height width"] | None = None,
) -> Bool[Tensor, " batch"]:
    """Whether the hottest pixel lies in the true region, or at most ``tolerance`` pixels from it.

    Hit ⇔ min over the region's pixels p of ‖p − argmax‖ ≤ tolerance. The heatmap is upsampled to the mask
    (bilinear); of several hottest pixels, the first in reading order counts. The accuracy is the mean over
    images; over classes first, as in the source, if classes are to weigh the same.

    Source: Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop", who allow 15 pixels
    (``ZHANG_TOLERANCE``) of the image and take boxes as regions (``vitcam.boxes.fill_boxes`` makes masks).

    Args:
        heatmaps: on the patch grid.
        masks: the true regions.
        tolerance: in pixels of the masks.
        ignore: pixels that count nowhere: neither as the hottest nor as the region's.

    Example:
        >>> heatmaps, masks = torch.eye(14)[None], torch.zeros(1, 224, 224, dtype=torch.bool)
        >>> masks[:, :112, :112] = True
        >>> pointing_game(heatmaps, masks), pointing_game(heatmaps, ~masks, ZHANG_TOLERANCE)
        (tensor([True]), tensor([False]))
    """
    height, width = masks.shape[-2:]
    maps = pixel_maps(heatmaps, (height, width))
    if ignore is not None:
        maps, masks = maps.masked_fill(ignore, -1), masks & ~ignore
    hottest = maps.flatten(1).argmax(1).view(-1, 1, 1)
    rows = torch.arange(height, device=masks.device).view(1, -1, 1)
    columns = torch.arange(width, device=masks.device).view(1, 1, -1)
    squared_distance = (rows - hottest // width) ** 2 + (columns - hottest % width) ** 2
    return (masks & (squared_distance <= tolerance**2)).flatten(1).any(1)


def measured(case: LocalizationCase) -> Numbers:
    """The column of ``pointing``."""
    return {"pointing": pointing_game(case.heatmaps, case.regions, ignore=case.void).double()}

"""The control ``oracle``: a map that knows the truth, so that tables show what could be reached.

It is no method: a method sees model, image and class, and this one the annotations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.ground_truth import Truth
from vitcam.explaining import Explanation
from vitcam.heatmap import upsample
from vitcam.methods.pixels import means_over_patches
from vitcam.types import PatchGrid


def oracle_maps(
    truths: Sequence[Truth | None], like: Explanation
) -> tuple[Float[Tensor, "truths rows columns"], Float[Tensor, "truths grid_rows grid_columns"]]:
    """How much of each patch is true: the share of its pixels that are in the region, undecided ones left out.

    It is as coarse as the methods' maps and is stretched over the image as they are, so that its numbers are those
    which a perfect map of this model could have, less than 1 where objects are smaller than patches. For measures of
    perturbation it is a reference, not a ceiling: a model may go by less than the whole object, or by what is around
    it.

    Args:
        truths: where the objects are; None gives a map of zeros.
        like: an explanation of the same model, which says where its patches are.

    Returns:
        The maps as measures are given them, and on the patch grid.
    """
    height, width = like.heatmaps.shape[-2:]
    grid = PatchGrid(height, width, prefix=0, region=like.region)
    pixels = torch.stack([_region(truth, (like.image_size[-2], like.image_size[-1])) for truth in truths])
    on_grid = means_over_patches(pixels, grid).reshape(-1, height, width)
    if like.region is None:
        return on_grid, on_grid
    laid = upsample(on_grid[:, None], like.image_size, like.region, like.image_size)
    return laid[:, 0], on_grid


def _region(truth: Truth | None, size: tuple[int, int]) -> Float[Tensor, "height width"]:
    if truth is None:
        return torch.zeros(size)
    return torch.from_numpy((truth.region & ~truth.void).astype(np.float32))

"""From a token map to a picture's pixels: the patch grid, bilinear upsampling, min-max normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.errors import ImageError, ModelError
from vitcam.types import PatchGrid, sides


def to_grid(token_map: Float[Tensor, "*batch tokens"], grid: PatchGrid) -> Float[Tensor, ...]:
    """Lay one value per patch token over the rows and columns of the patch grid.

    Args:
        token_map: one value per patch token, in the order of the sequence, without the prefix tokens.
        grid: how the patches lie over the image.

    Returns:
        The same values, as a view: row-major, (..., *grid.shape).

    Raises:
        ModelError: the number of values isn't the number of patches.

    Example:
        >>> to_grid(torch.arange(6.0), PatchGrid(height=2, width=3, prefix=1)).tolist()
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """
    tokens = token_map.shape[-1]
    if tokens != grid.tokens:
        raise ModelError(
            f"A token map has {tokens} values, but the patch grid has {sides(grid.shape)} = "
            f"{grid.tokens} patches. Leave out the prefix tokens (there are {grid.prefix}), or give the "
            "grid that fits this model and input size."
        )
    laid: Tensor = token_map.unflatten(-1, grid.shape)
    return laid


def upsample(
    heatmaps: Float[Tensor, "B T *grid"],
    size: tuple[int, ...],
    region: tuple[float, ...] | None = None,
    image_size: tuple[int, ...] | None = None,
) -> Float[Tensor, "B T *size"]:
    """Stretch heatmaps from the patch grid to pixels: bilinear, pixel centres aligned.

    The values between two patch centres are interpolated, those outside the outermost centres repeat the
    edge (``align_corners=False``), as AGCAM's authors do (arXiv 2402.04563).

    Maps over three axes, of clips and volumes, are stretched in the same way along each of them (trilinear).

    Where the patches cover a part of the image only, the map is stretched over that part. Of the pixels outside of
    it the model saw nothing; they get the lowest value of their map, so that they are never hot.

    Args:
        heatmaps: batch × targets × rows × columns of the patch grid.
        size: (height, width) in pixels.
        region: (top, left, bottom, right), the part of the image that the patches cover; it may reach beyond the
            image. None: the whole of it. See :class:`vitcam.PatchGrid`.
        image_size: (height, width) of the image in whose pixels the region is given; None: ``size``.

    Raises:
        ImageError: ``size`` isn't two positive whole numbers, or the region is empty.

    Example:
        >>> upsample(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).tolist()
        [[[[0.0, 0.25, 0.75, 1.0]]]]
        >>> upsample(torch.tensor([[[[5.0, 9.0]]]]), (1, 6), region=(0, 1, 1, 5)).tolist()
        [[[[5.0, 5.0, 6.0, 8.0, 9.0, 5.0]]]]
    """
    axes = heatmaps.dim() - 2
    named = "(height, width)" if axes == 2 else f"{axes} lengths, from the first axis of the map to the last,"
    given = size if isinstance(size, tuple | list) else ()
    if len(given) != axes or not all(hasattr(side, "__index__") and side >= 1 for side in given):
        raise ImageError(
            f"A heatmap's size is {named} in pixels, {'both' if axes == 2 else 'all'} at least 1; got {size}."
        )
    if region is None:
        mode = "bilinear" if axes == 2 else "trilinear"
        return F.interpolate(heatmaps, size=size, mode=mode, align_corners=False)
    sides = list(zip(region[:axes], region[axes:], strict=True))
    if not all(start < stop for start, stop in sides):
        raise ImageError(f"A heatmap's region is (top, left, bottom, right) with pixels in it; got {region}.")
    placed, outside = heatmaps, torch.zeros((), dtype=torch.bool, device=heatmaps.device)
    for axis, (side, pixels, seen) in enumerate(zip(sides, size, image_size or size, strict=True)):
        weights, nowhere = _weights(heatmaps, heatmaps.shape[2 + axis], pixels, side, seen)
        placed = torch.tensordot(placed, weights, dims=([2 + axis], [1])).movedim(-1, 2 + axis)
        outside = outside | nowhere.reshape(-1, *[1] * (axes - 1 - axis))
    lowest = placed.amin(dim=tuple(range(2, 2 + axes)), keepdim=True)
    return torch.where(outside, lowest, placed)


def _weights(
    like: Tensor, patches: int, pixels: int, side: tuple[float, float], length: int
) -> tuple[Float[Tensor, "pixels patches"], Bool[Tensor, " pixels"]]:
    """How much of each patch is in each pixel along one side of an image, and which pixels no patch covers."""
    centres = (torch.arange(pixels, dtype=torch.float64) + 0.5) * length / pixels
    share = (centres - side[0]) / (side[1] - side[0])
    place = (share * patches - 0.5).clamp(0, patches - 1)
    numbers = torch.arange(patches, dtype=torch.float64)
    weights = (1 - (place[:, None] - numbers).abs()).clamp_min(0)
    return weights.to(like), ((share < 0) | (share > 1)).to(like.device)


def normalize(maps: Float[Tensor, ...], axes: int = 2) -> Float[Tensor, ...]:
    """Bring each map to 0..1 on its own: (x − min) / (max − min) over its last dimensions.

    A constant map shows nothing, so it becomes zeros. Constant means: no larger differences than those that
    rounding leaves when a constant is interpolated.

    Args:
        maps: any number of maps.
        axes: how many dimensions a map has.

    Raises:
        ImageError: a map holds NaN or infinity.

    Example:
        >>> normalize(torch.tensor([[1.0, 2.0], [3.0, 5.0]])).tolist()
        [[0.0, 0.25], [0.5, 1.0]]
        >>> normalize(torch.full((2, 2), 7.0)).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    finite = torch.isfinite(maps)
    if not finite.all():
        raise ImageError(
            f"A heatmap must be finite to be scaled to 0..1, but {int((~finite).sum())} of {maps.numel()} "
            "values are NaN or infinite. Look for NaN in the image or in the model's weights; in fp16 a "
            'score may have overflowed: try precision="fp32".'
        )
    last = tuple(range(-axes, 0))
    low = maps.amin(last, keepdim=True)
    high = maps.amax(last, keepdim=True)
    rounding = 8 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    spread = high - low
    constant = spread <= rounding
    return torch.where(constant, 0.0, (maps - low) / torch.where(constant, 1.0, spread)).to(maps.dtype)

"""From a heatmap to boxes, and from boxes to a mask: AGCAM's localization protocol, to the pixel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from vitcam.errors import ImageError
from vitcam.types import Box


def boxes_from_heatmap(heatmap: ArrayLike, threshold: float = 0.5) -> list[Box]:
    """Box every region that is hotter than the threshold.

    Args:
        heatmap: one map (height, width) with values in 0..1; see :func:`vitcam.heatmap.normalize`.
        threshold: a fraction in 0..1; a pixel counts when it is strictly above it.

    Returns:
        The boxes in pixels of the map, the largest first; none if no pixel is above the threshold.

    Raises:
        ImageError: the map isn't one finite map in 0..1, or the threshold isn't in 0..1.

    Example:
        >>> boxes_from_heatmap(np.array([[0.0, 0.9, 1.0], [0.0, 0.2, 0.5]]), threshold=0.5)
        [Box(left=1, top=0, right=3, bottom=1)]
    """
    values = np.asarray(heatmap)
    if not 0 <= threshold <= 1:
        raise ImageError(f"A threshold is a fraction of the map's range, 0 to 1; got {threshold}.")
    if values.ndim != 2 or values.size == 0:
        raise ImageError(f"Boxes are found in one map (height, width); got an array of shape {values.shape}.")
    # Written so that NaN, which fails every comparison, is caught too.
    if not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(
            f"Boxes are found in a map with values in 0..1; this one has {values.min()} to {values.max()}. "
            "Scale it with vitcam.heatmap.normalize first."
        )
    return boxes_from_mask(values > threshold)


def boxes_from_mask(mask: Bool[np.ndarray, "H W"]) -> list[Box]:
    """Bound every outer contour of a mask.

    Outer contours as OpenCV's ``findContours`` with ``RETR_EXTERNAL`` finds them: pixels that touch,
    diagonally too, are one region, and what lies in a hole of a region has no box of its own.

    Args:
        mask: true where the region is.

    Returns:
        The boxes in pixels, right = left + width and bottom = top + height, the largest first.

    Example:
        >>> boxes_from_mask(np.eye(3, dtype=bool))
        [Box(left=0, top=0, right=3, bottom=3)]
    """
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rectangles = (cv2.boundingRect(contour) for contour in contours)
    boxes = [Box(left, top, left + width, top + height) for left, top, width, height in rectangles]
    # OpenCV goes by where a contour starts; a person asks for the main region first.
    return sorted(boxes, key=lambda box: (-box.width * box.height, box.top, box.left))


def fill_boxes(boxes: Iterable[Box], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Fill the union of boxes, **both ends inclusive**.

    ``right`` and ``bottom`` are one past the box's last pixel, yet they are filled too, so that every box
    becomes one pixel wider and taller than it is. AGCAM's authors have it so, for the predicted boxes as for
    the true ones (arXiv 2402.04563), and the published numbers depend on it. What lies outside the image is
    cut off; fractions are cut towards zero.

    Args:
        boxes: rectangles in pixels.
        size: (height, width) of the mask.

    Example:
        >>> fill_boxes([Box(0, 0, 1, 1)], (2, 3)).astype(int).tolist()
        [[1, 1, 0], [1, 1, 0]]
    """
    mask = np.zeros(size, dtype=np.bool_)
    for box in boxes:
        left, top, right, bottom = (max(int(edge) + 1, 0) for edge in box)
        mask[max(top - 1, 0) : bottom, max(left - 1, 0) : right] = True
    return mask

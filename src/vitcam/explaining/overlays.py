"""One image under one of its maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from vitcam import heatmap, render
from vitcam.explaining.explanation import Explanation
from vitcam.types import Box

Boxes = bool | float | Sequence[Box]


def overlay(
    explanation: Explanation, i: int, t: int, *, opacity: float, colormap: str, boxes: Boxes
) -> Image:
    """See :meth:`Explanation.overlay`; ``i`` and ``t`` are counted from the first."""
    photograph = explanation.photographs[i]
    if explanation.kind != "picture":
        _chosen(explanation, boxes, i, t)
        heat = explanation[i].laid()[0, t].numpy()
        return render.overlay(photograph, heat, opacity=opacity, colormap=colormap)
    one, size = explanation.heatmaps[i : i + 1, t : t + 1], (photograph.height, photograph.width)
    maps = heatmap.upsample(one, size, explanation.region, explanation.image_size)
    heat = np.asarray(heatmap.normalize(maps)[0, 0].cpu())
    y, x = (there / here for there, here in zip(size, explanation.image_size, strict=True))
    outlined, places = (
        [Box(x * left, y * top, x * right, y * bottom) for left, top, right, bottom in some]
        for some in (_chosen(explanation, boxes, i, t), explanation.places(i, t))
    )
    return render.overlay(photograph, heat, opacity=opacity, colormap=colormap, boxes=outlined, places=places)


def _chosen(explanation: Explanation, boxes: Boxes, i: int, t: int) -> Sequence[Box]:
    if boxes is False:
        return ()
    if isinstance(boxes, int | float):
        threshold = 0.5 if boxes is True else boxes
        return explanation[i].boxes(threshold)[0][t]
    return boxes

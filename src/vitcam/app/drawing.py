"""From maps to pictures. No model runs in here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from vitcam.app.answering import Answer
from vitcam.app.photograph import reduced
from vitcam.boxes import boxes_from_heatmap
from vitcam.explaining import Decomposition, Explanation, figure
from vitcam.explaining.figures import is_blind
from vitcam.heatmap import normalize, upsample
from vitcam.render import Cell, overlay
from vitcam.render.overlay import DEFAULT_OPACITY


@dataclass(frozen=True)
class Look:
    """How maps are drawn.

    Attributes:
        opacity: of the colour at the hottest point.
        boxes: whether boxes are drawn.
        threshold: what they surround is hotter than this.
    """

    opacity: float = DEFAULT_OPACITY
    boxes: bool = False
    threshold: float = 0.5


def grid(answer: Answer, look: Look) -> Image.Image:
    """The maps over their photograph: methods across, classes down."""
    return figure(
        answer.explanations,
        boxes=look.threshold if look.boxes else False,
        photo_label=answer.subject.photograph.name,
        notes=[answer.subject.spec],
        opacity=look.opacity,
    )


def overlays(answer: Answer, look: Look, tile: int = 320) -> list[list[Image.Image]]:
    """The same without labels: per class, per method a picture."""
    small = reduced(answer.first.photographs[0], tile)
    columns = [_cells(explanation, look) for explanation in answer.explanations.values()]
    rows = zip(*columns, strict=True)
    return [[overlay(small, c.heat, opacity=look.opacity, boxes=c.boxes) for c in row] for row in rows]


def layer_overlays(answer: Answer, parts: Decomposition, target: int, look: Look) -> list[Image.Image]:
    """Each layer's own map over the photograph, each scaled on its own."""
    return [_over(answer, heat, look, tile=200) for heat in parts.maps[0, target].sum(dim=1)]


def kept_overlay(
    answer: Answer, parts: Decomposition, target: int, on: Bool[np.ndarray, "layers heads"], look: Look
) -> Image.Image:
    """The map of the heads that are switched on, over the photograph."""
    return _over(answer, parts.total(torch.as_tensor(on))[0, target], look, tile=320)


def _over(answer: Answer, heat: Float[Tensor, "h w"], look: Look, tile: int) -> Image.Image:
    first = answer.first
    pixels = normalize(upsample(heat[None, None], first.image_size, first.region))[0, 0].cpu().numpy()
    boxes = boxes_from_heatmap(pixels, look.threshold) if look.boxes else []
    return overlay(reduced(answer.first.photographs[0], tile), pixels, opacity=look.opacity, boxes=boxes)


def _cells(explanation: Explanation, look: Look) -> list[Cell]:
    maps = explanation.upsampled()[0].cpu().numpy()
    boxes = explanation.boxes(look.threshold)[0] if look.boxes else [[] for _ in maps]
    return [Cell(heat, boxes=found) for heat, found in zip(maps, boxes, strict=True)]


def notes(answer: Answer) -> list[str]:
    """What a visitor should know about the maps."""
    blind = [name for name, explanation in answer.explanations.items() if is_blind(explanation)]
    return [f"The same map for every class: {', '.join(blind)}."] if blind else []

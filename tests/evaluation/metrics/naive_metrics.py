"""Slow, literal versions of what the metrics do, one pixel at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def pixel_map(heatmap: Tensor, height: int, width: int) -> list[list[float]]:
    """Bilinear upsampling with pixel centres aligned and edges repeated, then min-max."""
    rows, columns = heatmap.shape

    def at(row: int, column: int) -> float:
        return float(heatmap[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])

    values = []
    for y in range(height):
        line = []
        for x in range(width):
            r, c = (y + 0.5) * rows / height - 0.5, (x + 0.5) * columns / width - 0.5
            r, c = max(r, 0.0), max(c, 0.0)
            r0, c0 = math.floor(r), math.floor(c)
            a, b = r - r0, c - c0
            line.append(
                (1 - a) * (1 - b) * at(r0, c0)
                + (1 - a) * b * at(r0, c0 + 1)
                + a * (1 - b) * at(r0 + 1, c0)
                + a * b * at(r0 + 1, c0 + 1)
            )
        values.append(line)
    low, high = min(map(min, values)), max(map(max, values))
    return [[(value - low) / (high - low) for value in line] for line in values]


def five_scores(predicted: list[list[bool]], truth: list[list[bool]]) -> dict[str, float]:
    both = [(p, t) for ps, ts in zip(predicted, truth, strict=True) for p, t in zip(ps, ts, strict=True)]
    tp = sum(p and t for p, t in both)
    fp = sum(p and not t for p, t in both)
    fn = sum(t and not p for p, t in both)
    tn = len(both) - tp - fp - fn
    e = 1e-5
    return {
        "pixel_accuracy": (tp + tn + e) / (len(both) + e),
        "iou": (tp + e) / (tp + fp + fn + e),
        "dice": (2 * tp + e) / (2 * tp + fp + fn + e),
        "precision": (tp + e) / (tp + fp + e),
        "recall": (tp + e) / (tp + fn + e),
    }


def order(values: list[float]) -> list[int]:
    """Indices, the largest value first, equal ones in reading order."""
    return sorted(range(len(values)), key=lambda index: (-values[index], index))


def flat(heatmap: Tensor, height: int, width: int) -> list[float]:
    return [value for line in pixel_map(heatmap, height, width) for value in line]


def replaced(image: Tensor, fill: Tensor, pixels: list[int]) -> Tensor:
    image, width = image.clone(), image.shape[2]
    for pixel in pixels:
        y, x = divmod(pixel, width)
        image[:, y, x] = fill.expand_as(image)[:, y, x]
    return image


def distinct_heatmap(rows: int, columns: int, seed: int) -> Tensor:
    """Values far enough apart that rounding can't swap two of them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(rows * columns, generator=generator).view(rows, columns).float()


class TopRows(nn.Module):
    """The logit of class 1 is a weighted sum of the upper pixels, of one channel or of three equal ones."""

    def forward(self, images):
        logit = (images[:, :1, :6] * torch.linspace(-1, 1, 60).view(6, 10)).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)

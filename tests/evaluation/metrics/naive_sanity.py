"""Slow, literal versions of what the measures of sanity do, from the papers' formulas."""

from __future__ import annotations

import copy
import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn

import vitcam


def ssim(one, other) -> float:
    """Window by window: 7 × 7 pixels, sample variances, data in 0..1."""
    one, other = np.asarray(one, float), np.asarray(other, float)
    values = []
    for top in range(one.shape[0] - 6):
        for left in range(one.shape[1] - 6):
            x, y = (each[top : top + 7, left : left + 7].ravel() for each in (one, other))
            covariance = ((x - x.mean()) * (y - y.mean())).sum() / 48
            above = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance + 9e-4)
            values.append(
                above / ((x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var(ddof=1) + y.var(ddof=1) + 9e-4))
            )
    return float(np.mean(values))


def pearson(one: list[float], other: list[float]) -> float:
    n = len(one)
    a, b = sum(one) / n, sum(other) / n
    above = sum((x - a) * (y - b) for x, y in zip(one, other, strict=True))
    return above / math.sqrt(sum((x - a) ** 2 for x in one) * sum((y - b) ** 2 for y in other))


def ranks(values: list[float]) -> list[float]:
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def spearman(one: Tensor, other: Tensor) -> float:
    return pearson(*(ranks(each.flatten().tolist()) for each in (one, other)))


def histogram_entropy(values: list[float], bins: int = 100) -> float:
    low, high = min(values), max(values)
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    shares = [count / len(values) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def randomised(model: nn.Module, names: list[str], seed: int) -> nn.Module:
    """Another model, in which the parameters of these names were drawn anew."""
    other = copy.deepcopy(model)
    for name, parameter in other.named_parameters():
        if name in names:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            values = parameter.detach().double()
            mean = values.mean()
            deviation = ((values - mean) ** 2).mean().sqrt()
            drawn = torch.randn(values.shape, generator=generator)
            parameter.data = (mean + deviation * drawn).float()
    return other


def explained(model: nn.Module, image: Tensor, method: str, target: int) -> Tensor:
    return vitcam.explain(model, image[None], method, target).heatmaps[0, 0]


def largest_one(heatmap: Tensor) -> list[float]:
    values = heatmap.flatten().tolist()
    largest = max(map(abs, values))
    return [value / largest for value in values]


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in values))

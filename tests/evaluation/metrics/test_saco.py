from __future__ import annotations

import naive_metrics as naive
import pytest
import torch
from torch import nn

from vitcam.errors import ImageError
from vitcam.evaluation.metrics.saco import saco


def _naive(heat: list[float], falls: list[float]) -> float:
    agreement = total = 0.0
    for i in range(len(heat) - 1):
        for j in range(i + 1, len(heat)):
            weight = heat[i] - heat[j]
            if falls[i] < falls[j]:
                weight = -weight
            agreement += weight
            total += abs(weight)
    return agreement / total


@pytest.mark.parametrize("groups", [4, 8])
def test_equals_a_naive_version(case, groups):
    heatmaps = torch.stack([naive.distinct_heatmap(32, 24, seed) for seed in range(3)])
    got = saco(case.model, case.images, heatmaps, case.targets, groups)
    size = 32 * 24 // groups
    for i in range(3):
        values = naive.flat(heatmaps[i], 32, 24)
        order = naive.order(values)
        members = [order[first : first + size] for first in range(0, len(order), size)]
        mean = case.images[i].mean((1, 2), keepdim=True)
        before = case.probability(case.images[i], case.targets[i])
        falls = [
            before - case.probability(naive.replaced(case.images[i], mean, pixels), case.targets[i])
            for pixels in members
        ]
        heat = [sum(values[pixel] for pixel in pixels) for pixels in members]
        assert got[i].item() == pytest.approx(_naive(heat, falls), abs=1e-4)
    assert got.min() < got.max()


def test_groups_that_dont_divide_the_pixels(case):
    got = saco(case.model, case.images, case.heatmaps, case.targets, groups=7)
    assert ((got >= -1) & (got <= 1)).all()


class _Linear(nn.Module):
    """The logit of class 1 is a weighted sum of the pixels of one channel."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        logit = (images[:, 0] * self.weights).sum((1, 2))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_a_faithful_map_scores_one_and_its_opposite_minus_one():
    weights = torch.linspace(-0.1, 0.1, 64).view(8, 8)
    images = torch.ones(1, 3, 8, 8)
    images[:, :, :, ::2] = -1  # A mean colour of 0, which removes a pixel's part of the sum.
    model, target = _Linear(weights * images[0, 0]), torch.tensor([1])
    assert saco(model, images, weights[None], target).item() == pytest.approx(1.0)
    assert saco(model, images, -weights[None], target).item() == pytest.approx(-1.0)


def test_a_constant_map_claims_nothing(case):
    assert saco(case.model, case.images, torch.ones(3, 4, 3), case.targets).tolist() == [0, 0, 0]


def test_makes_one_forward_pass_per_group_and_one_more(case, passes):
    saco(case.model, case.images, case.heatmaps, case.targets)
    assert sum(passes) == 3 * 11


def test_refuses_nan(case):
    with pytest.raises(ImageError, match="finite"):
        saco(case.model, case.images, case.heatmaps * torch.nan, case.targets)

"""Chefer's perturbation test, against what her code does, written out."""

from __future__ import annotations

import naive_metrics as naive
import pytest
import torch
from torch import nn

from vitcam.errors import MetricError, TargetError
from vitcam.evaluation.cases import PerturbationCase, measured
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.metrics.chefer import FRACTIONS, chefer_perturbation

MEAN = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
STD = torch.tensor([0.2, 0.3, 0.25])[:, None, None]
BLACK = -MEAN / STD


class _Weighted(nn.Module):
    """Logits that are sums of the pixels with random weights, so that each pixel that goes moves them."""

    def __init__(self):
        super().__init__()
        weights = torch.randn(5, 3, 32, 24, generator=torch.Generator().manual_seed(1))
        self.weights = nn.Parameter((weights - weights.mean((1, 2, 3), keepdim=True)).flatten(1))

    def forward(self, images):
        return images.flatten(1) @ self.weights.T


@pytest.fixture
def raw(case):
    """Photographs in 0..1, of which the case's images become the normalised ones."""
    raw = torch.rand(3, 3, 32, 24, generator=torch.Generator().manual_seed(5))
    case.images = (raw - MEAN) / STD
    return raw


def hits(case, raw, heatmap, i, label, negative):
    """In the unit of photographs: the pixels become 0, then everything is normalised."""
    values = naive.flat(heatmap, 32, 24)
    order = naive.order([-value for value in values] if negative else values)
    found = []
    for tenth in range(1, 10):
        black = naive.replaced(raw[i], torch.zeros(3, 1, 1), order[: int(32 * 24 * tenth / 10)])
        with torch.no_grad():
            found.append(float(case.model(((black - MEAN) / STD)[None]).argmax() == label))
    return found


def test_equals_a_naive_version_for_both_classes(case, raw):
    case.model = _Weighted()
    by_class = [torch.stack([naive.distinct_heatmap(32, 24, seed + k) for seed in range(3)]) for k in (0, 10)]
    with torch.no_grad():
        first, second = case.model(case.images).topk(2).indices.T
    predicted, labels = first, first.clone()
    labels[1] = second[1]
    asked = []

    def again(places, classes):
        asked.append((places, classes.tolist()))
        return torch.cat([by_class[1][places], by_class[0].flip(0)[places]])

    heatmaps = torch.cat([by_class[0], by_class[1].flip(0)])  # of two methods
    found = measured(
        [MEASURES["chefer-perturbation"]],
        PerturbationCase(
            case.model,
            case.images,
            heatmaps,
            heatmaps,
            labels.repeat(2),
            False,
            "fp32",
            10,
            0,
            (),
            BLACK,
            again,
        ),
    )
    assert asked == [([1], [int(predicted[1])])]
    others = {1: by_class[1][1], 4: by_class[0].flip(0)[1]}
    for k in range(6):
        for explained, heatmap in (("target", heatmaps[k]), ("predicted", others.get(k, heatmaps[k]))):
            for direction in ("positive", "negative"):
                expected = hits(case, raw, heatmap, k % 3, labels[k % 3], direction == "negative")
                assert found[f"chefer_{direction}_{explained}"][k] == expected
                area = 0.1 * (sum(expected) - (expected[0] + expected[-1]) / 2)
                assert found[f"chefer_auc_{direction}_{explained}"][k] == pytest.approx(area, abs=1e-6)
    for curves in found.values():
        assert len({str(curve) for curve in curves}) > 2
    assert found["chefer_negative_target"] != found["chefer_negative_predicted"]


def test_black_is_before_normalisation(case, raw, monkeypatch):
    seen = []
    case.model.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    chefer_perturbation(case.model, case.images, case.heatmaps, case.targets, BLACK, (0.5,))
    pixels = torch.cat(seen) * STD + MEAN
    black = (pixels.abs() < 1e-6).all(1).flatten(1).sum(1)
    assert black.tolist() == [384] * 6


def test_costs_two_passes_per_fraction(case, passes):
    chefer_perturbation(case.model, case.images, case.heatmaps, case.targets, BLACK)
    assert sum(passes) == 3 * 2 * len(FRACTIONS) == 54


def test_is_not_measured_without_black(case):
    unknown = PerturbationCase(
        case.model, case.images, case.heatmaps, case.heatmaps, case.targets, False, "fp32", 10, 0
    )
    assert measured([MEASURES["chefer-perturbation"]], unknown) == {}


def test_several_labels_are_predicted_by_their_own_sigmoids(case):
    with torch.no_grad():
        case.model.head.bias[:] = torch.tensor([50.0, 60, -50, 50, -50])
    labels = torch.tensor([0, 1, 2])
    found = chefer_perturbation(
        case.model, case.images, case.heatmaps, labels, BLACK, (0.3,), multi_label=True
    )
    assert found.positive.flatten().tolist() == [1, 1, 0]
    alone = chefer_perturbation(case.model, case.images, case.heatmaps, labels, BLACK, (0.3,))
    assert alone.positive.flatten().tolist() == [0, 1, 0]


def test_errors(case):
    with pytest.raises(MetricError, match=r"expected fractions between 0 and 1, .* got \(0, 0.5\)"):
        chefer_perturbation(case.model, case.images, case.heatmaps, case.targets, BLACK, (0, 0.5))
    with pytest.raises(TargetError, match="the model's 5 classes, got 5"):
        chefer_perturbation(case.model, case.images, case.heatmaps, torch.tensor([0, 5, 1]), BLACK)

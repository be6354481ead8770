"""Sparseness and entropy of maps."""

from __future__ import annotations

import math

import pytest
import torch

from vitcam.evaluation.metrics.complexity import complexity, sparseness


def naive_gini(values: list[float]) -> float:
    """Mean absolute difference of all pairs, divided by twice the mean."""
    n = len(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * n * sum(values))


def test_equal_naive_versions_and_quantus():
    torch.manual_seed(0)
    maps = torch.randn(4, 5, 6)
    for i, heatmap in enumerate(maps):
        values = heatmap.abs().double().flatten().tolist()
        assert sparseness(maps)[i].item() == pytest.approx(naive_gini(values))
        shares = [value / sum(values) for value in values]
        entropy = -sum(share * math.log(share) for share in shares)
        assert complexity(maps)[i].item() == pytest.approx(entropy / math.log(30))
    functions = pytest.importorskip("quantus.functions.complexity_func", reason="Quantus isn't installed")
    for i, values in enumerate(maps.abs().flatten(1).numpy()):
        assert sparseness(maps)[i].item() == pytest.approx(
            functions.gini_coeffiient(values, values), abs=1e-5
        )
        assert complexity(maps)[i].item() * math.log(30) == pytest.approx(functions.entropy(values, values))


def test_the_simplest_and_the_most_complex_map():
    single = torch.zeros(1, 4, 4)
    single[0, 1, 2] = 7
    assert sparseness(single).item() == pytest.approx(15 / 16)
    assert complexity(single).item() == 0
    assert sparseness(torch.ones(1, 4, 4)).item() == pytest.approx(0)
    assert complexity(torch.ones(1, 4, 4)).item() == pytest.approx(1)
    zeros = torch.zeros(1, 4, 4)
    assert (sparseness(zeros).item(), complexity(zeros).item()) == (0, pytest.approx(1))


def test_neither_scale_nor_sign_matters():
    maps = torch.rand(2, 4, 4)
    torch.testing.assert_close(sparseness(maps), sparseness(-5 * maps))
    torch.testing.assert_close(complexity(maps), complexity(-5 * maps))

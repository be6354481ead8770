"""How alike two maps are."""

from __future__ import annotations

import naive_sanity as naive
import pytest
import torch

from vitcam.evaluation.metrics.similarity import correlation, rank_correlation, structural_similarity


@pytest.fixture
def pair():
    torch.manual_seed(0)
    one = torch.rand(3, 20, 16)
    return one, (one + 0.4 * torch.rand(3, 20, 16)).clamp(max=1)


def test_ssim_equals_a_naive_version_and_skimage(pair):
    found = structural_similarity(*pair)
    for i, value in enumerate(found.tolist()):
        assert value == pytest.approx(naive.ssim(pair[0][i], pair[1][i]), abs=1e-5)
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image isn't installed")
    theirs = [
        metrics.structural_similarity(*(each[i].numpy() for each in pair), data_range=1.0) for i in range(3)
    ]
    assert found.tolist() == pytest.approx(theirs, abs=1e-5)
    assert structural_similarity(pair[0], pair[0]).tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_correlations_equal_naive_versions(pair):
    one, other = ((5 * each[:, :6, :5]).round() for each in pair)  # with many equal values
    for i in range(3):
        assert rank_correlation(one, other)[i].item() == pytest.approx(naive.spearman(one[i], other[i]))
        flat = [each[i].flatten().tolist() for each in (one, other)]
        assert correlation(one, other)[i].item() == pytest.approx(naive.pearson(*flat))
    functions = pytest.importorskip("quantus.functions.similarity_func", reason="Quantus isn't installed")
    theirs = functions.correlation_spearman(one.flatten(1).numpy(), other.flatten(1).numpy(), batched=True)
    assert rank_correlation(one, other).tolist() == pytest.approx(list(theirs))


def test_a_rank_correlation_sees_the_order_alone(pair):
    one, other = pair
    assert rank_correlation(one, one.exp()).tolist() == pytest.approx([1, 1, 1])
    assert rank_correlation(one, -one).tolist() == pytest.approx([-1, -1, -1])
    assert rank_correlation(one, other).equal(rank_correlation(one, other**3))


@pytest.mark.parametrize("function", [correlation, rank_correlation])
def test_a_constant_map_is_like_constant_maps_alone(pair, function):
    flat = torch.full((3, 20, 16), 0.1)  # whose mean isn't exactly itself
    assert function(flat, 3 * flat).tolist() == [1, 1, 1]
    assert function(flat, pair[0]).tolist() == function(pair[0], flat).tolist() == [0, 0, 0]

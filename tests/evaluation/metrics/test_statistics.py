from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitcam.errors import MetricError
from vitcam.evaluation import statistics
from vitcam.evaluation.statistics import bootstrap_interval, paired_difference


def test_interval_equals_a_naive_bootstrap():
    values = np.random.default_rng(1).normal(size=40)
    interval = bootstrap_interval(values, resamples=500, seed=7)
    random = np.random.default_rng(7)
    means = [np.mean([values[i] for i in random.integers(0, 40, 40)]) for _ in range(500)]
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(np.quantile(means, 0.025))
    assert interval.high == pytest.approx(np.quantile(means, 0.975))


def test_interval_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy isn't installed")
    values = np.random.default_rng(2).exponential(size=300)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, random_state=0)
    ours = bootstrap_interval(values, resamples=20000)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.005)


def test_covers_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        interval = bootstrap_interval(random.normal(size=80), resamples=400, level=0.8, seed=seed)
        covered += bool(interval.low <= 0 <= interval.high)
    assert 0.7 < covered / 200 < 0.88


def test_memory_bound_draws_are_the_same_draws(monkeypatch):
    first, second = np.random.default_rng(4).normal(size=(2, 50))
    at_once = paired_difference(first, second)
    monkeypatch.setattr(statistics, "_CHUNK", 120)
    in_chunks = paired_difference(first, second)
    assert in_chunks.p_value == at_once.p_value
    for bound in ("mean", "low", "high"):
        got, expected = getattr(in_chunks.interval, bound), getattr(at_once.interval, bound)
        assert got == pytest.approx(float(expected), abs=1e-12)


def test_several_metrics_at_once_are_each_as_alone():
    values = np.random.default_rng(5).normal(size=(60, 3))
    together = bootstrap_interval(values)
    for column in range(3):
        alone = bootstrap_interval(values[:, column])
        assert together.low[column] == pytest.approx(alone.low)
        assert together.high[column] == pytest.approx(alone.high)
        assert together.mean[column] == pytest.approx(alone.mean)
    other = np.random.default_rng(6).normal(size=(60, 3))
    difference = paired_difference(values, other)
    assert difference.p_value.shape == (3,)
    assert difference.p_value[1] == paired_difference(values[:, 1], other[:, 1]).p_value


def test_scores_of_one_image_are_drawn_together():
    random = np.random.default_rng(10)
    images = np.repeat(np.arange(20), random.integers(1, 5, 20))
    values = random.normal(size=20)[images] + 0.1 * random.normal(size=len(images))
    interval = bootstrap_interval(values, images, resamples=500, seed=7)
    draws, means = np.random.default_rng(7), []
    for _ in range(500):
        drawn = [value for image in draws.integers(0, 20, 20) for value in values[images == image]]
        means.append(np.mean(drawn))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(np.quantile(means, 0.025))
    assert interval.high == pytest.approx(np.quantile(means, 0.975))
    alone = bootstrap_interval(values)
    assert interval.high - interval.low > 1.3 * (alone.high - alone.low)  # as if there were more images


def test_scores_of_one_image_change_signs_together():
    images = np.array([3, 3, 5, 7, 7, 7, 9])
    first = np.array([0.5, 0.7, 0.9, 0.6, 0.4, 0.8, 0.55])
    second = np.array([0.4, 0.75, 0.8, 0.5, 0.45, 0.6, 0.5])
    sums = [(first - second)[images == image].sum() for image in (3, 5, 7, 9)]
    exact = np.mean(
        [abs(np.dot(c, sums)) >= abs(sum(sums)) - 1e-12 for c in itertools.product((-1, 1), repeat=4)]
    )
    assert paired_difference(first, second, images, resamples=20000).p_value == pytest.approx(exact, abs=0.01)


def test_one_score_per_image_is_the_plain_bootstrap():
    values, other = np.random.default_rng(11).normal(size=(2, 30))
    assert bootstrap_interval(values, np.arange(30)) == bootstrap_interval(values)
    assert paired_difference(values, other, np.arange(30)) == paired_difference(values, other)


def test_p_value_is_that_of_all_sign_changes():
    first = np.array([0.5, 0.7, 0.9, 0.6, 0.4, 0.8, 0.55])
    second = np.array([0.4, 0.75, 0.8, 0.5, 0.45, 0.6, 0.5])
    difference = first - second
    changes = list(itertools.product((-1, 1), repeat=7))
    exact = np.mean([abs(np.dot(c, difference)) >= abs(difference.sum()) - 1e-12 for c in changes])
    got = paired_difference(first, second, resamples=20000)
    assert got.p_value == pytest.approx(exact, abs=0.01)
    assert got.interval.mean == pytest.approx(difference.mean())


def test_p_value_is_fair_when_methods_are_alike():
    random = np.random.default_rng(8)
    p_values = [
        float(paired_difference(*random.normal(size=(2, 30)), resamples=200, seed=seed).p_value)
        for seed in range(300)
    ]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_p_value_at_its_ends():
    assert paired_difference([0.1, 0.2], [0.1, 0.2]).p_value == 1.0
    sure = paired_difference(np.arange(100) + 1.0, np.arange(100.0), resamples=999)
    assert sure.p_value == 1 / 1000
    assert sure.interval.low == sure.interval.high == 1.0


def test_only_the_seed_changes_the_draws():
    values = np.random.default_rng(9).normal(size=50)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values).low != bootstrap_interval(values, seed=1).low


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), "at least one image, got none"),
        (lambda: bootstrap_interval([0.1, float("nan")]), "1 of 2 are NaN or infinite"),
        (lambda: bootstrap_interval([0.1, 0.2], [1]), r"an image for each of 2 scores, got \(1,\)"),
        (lambda: paired_difference([0.1, 0.2], [0.1]), r"same images, got \(2,\) and \(1,\)"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(MetricError, match=message):
        call()

from __future__ import annotations

import naive_metrics as naive
import pytest
import torch

from vitcam.errors import MetricError
from vitcam.evaluation.metrics.mask_overlap import mask_scores

THRESHOLDS = [0.013, 0.213, 0.553, 0.913]


def _example():
    heatmaps = torch.stack([naive.distinct_heatmap(3, 4, seed) for seed in (1, 2)])
    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(2, 15, 22, generator=generator) > 0.6
    ignore = torch.rand(2, 15, 22, generator=generator) > 0.8
    return heatmaps, masks, ignore


def test_equals_a_naive_version():
    heatmaps, masks, _ = _example()
    scores = mask_scores(heatmaps, masks, THRESHOLDS)
    for image in range(2):
        values = naive.pixel_map(heatmaps[image], 15, 22)
        for column, threshold in enumerate(THRESHOLDS):
            predicted = [[value > threshold for value in line] for line in values]
            expected = naive.five_scores(predicted, masks[image].tolist())
            got = {name: scores[name][image, column].item() for name in scores}
            assert got == pytest.approx(expected, abs=1e-12)


def test_ignored_pixels_count_nowhere():
    heatmaps, masks, ignore = _example()
    scores = mask_scores(heatmaps, masks, THRESHOLDS, ignore)
    assert (ignore & masks).any()
    for image in range(2):
        kept = (~ignore[image]).flatten().tolist()
        values = naive.flat(heatmaps[image], 15, 22)
        truth = [t for t, keep in zip(masks[image].flatten().tolist(), kept, strict=True) if keep]
        for column, threshold in enumerate(THRESHOLDS):
            predicted = [value > threshold for value, keep in zip(values, kept, strict=True) if keep]
            expected = naive.five_scores([predicted], [truth])
            got = {name: scores[name][image, column].item() for name in scores}
            assert got == pytest.approx(expected, abs=1e-12)


def test_pixels_equal_to_the_threshold_are_not_above_it():
    heatmap = torch.tensor([[[0.0, 0.5, 1.0]]])
    mask = torch.tensor([[[False, False, True]]])
    assert mask_scores(heatmap, mask, [0.25, 0.5])["precision"][0].tolist() == pytest.approx(
        [0.5, 1], abs=1e-5
    )


def test_refuses_thresholds_that_do_not_ascend():
    heatmaps, masks, _ = _example()
    with pytest.raises(MetricError, match=r"expected ascending thresholds, got \[0.5, 0.25\]"):
        mask_scores(heatmaps, masks, [0.5, 0.25])

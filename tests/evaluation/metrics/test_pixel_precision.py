from __future__ import annotations

import naive_metrics as naive
import pytest
import torch

from vitcam.evaluation.metrics.pixel_precision import (
    pixel_average_precision,
    pixel_counts,
    pooled_average_precision,
)


def _example():
    heatmaps = torch.stack([naive.distinct_heatmap(3, 4, seed) for seed in (1, 2)])
    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(2, 9, 13, generator=generator) > 0.6
    ignore = torch.rand(2, 9, 13, generator=generator) > 0.8
    return heatmaps, masks, ignore


def _naive_average_precision(scored: list[tuple[float, bool]], steps: int) -> float:
    total, area, before = sum(truth for _, truth in scored), 0.0, 0.0
    for step in range(steps, -1, -1):
        threshold = torch.tensor(step / steps, dtype=torch.float32).item()
        above = [truth for value, truth in scored if value >= threshold]
        if above:
            recall = sum(above) / total
            area += sum(above) / len(above) * (recall - before)
            before = recall
    return area


def _scored(heatmap, mask, keep) -> list[tuple[float, bool]]:
    from vitcam.evaluation.metrics.maps import pixel_maps

    values = pixel_maps(heatmap[None], mask.shape)[0].flatten().tolist()
    flags = zip(values, mask.flatten().tolist(), keep.flatten().tolist(), strict=True)
    return [(value, truth) for value, truth, kept in flags if kept]


@pytest.mark.parametrize("ignoring", [False, True])
def test_equals_a_naive_version(ignoring):
    heatmaps, masks, ignore = _example()
    keep = ~ignore if ignoring else torch.ones_like(ignore)
    counts = pixel_counts(heatmaps, masks, ignore if ignoring else None, steps=50)
    scored = [_scored(heatmaps[image], masks[image], keep[image]) for image in range(2)]
    expected = [_naive_average_precision(one, 50) for one in scored]
    assert pixel_average_precision(counts).tolist() == pytest.approx(expected)

    assert pooled_average_precision(counts.hits, counts.predicted) == pytest.approx(
        _naive_average_precision(scored[0] + scored[1], 50)
    )


def test_of_all_pixels_together_is_not_the_mean_of_the_images():
    heatmaps, masks, _ = _example()
    masks[1] &= (
        masks[1].cumsum(0) < 2
    )  # a smaller object, whose pixels weigh less when all are counted together
    counts = pixel_counts(heatmaps, masks)
    together = pooled_average_precision(counts.hits, counts.predicted)
    assert abs(together - pixel_average_precision(counts).mean().item()) > 0.01


def test_the_top_value_is_counted_at_threshold_one_and_all_at_zero():
    counts = pixel_counts(torch.tensor([[[0.0, 0.4, 1.0]]]), torch.tensor([[[False, True, True]]]), steps=2)
    assert counts.predicted.tolist() == [[1, 1, 3]]
    assert counts.hits.tolist() == [[1, 1, 2]]
    assert counts.truth.tolist() == [2]


def test_a_perfect_map_scores_one_and_an_inverted_one_little():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, 2:4, 2:4] = True
    assert pixel_average_precision(pixel_counts(mask.float(), mask)).item() == 1.0
    assert pixel_average_precision(pixel_counts(1 - mask.float(), mask)).item() == pytest.approx(4 / 36)


def test_an_empty_mask_has_no_average_precision():
    counts = pixel_counts(torch.rand(1, 3, 3), torch.zeros(1, 6, 6, dtype=torch.bool))
    assert pixel_average_precision(counts).isnan().all()

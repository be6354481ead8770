from __future__ import annotations

import naive_metrics as naive
import pytest
import torch

from vitcam.evaluation.metrics.energy import energy_inside
from vitcam.evaluation.metrics.pointing import ZHANG_TOLERANCE, pointing_game


def _naive_pointing(heatmap, mask, tolerance: float) -> bool:
    height, width = mask.shape
    hottest = naive.order(naive.flat(heatmap, height, width))[0]
    row, column = divmod(hottest, width)
    distances = [
        ((row - y) ** 2 + (column - x) ** 2) ** 0.5 for y in range(height) for x in range(width) if mask[y, x]
    ]
    return min(distances) <= tolerance


def test_pointing_equals_a_naive_version():
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.stack([naive.distinct_heatmap(4, 5, seed) for seed in range(12)])
    masks = torch.zeros(12, 24, 30, dtype=torch.bool)
    for mask in masks:
        y, x = torch.randint(0, 20, (2,), generator=generator).tolist()
        mask[y : y + 5, x : x + 6] = True
    for tolerance in (0.0, 3.0, 7.5):
        got = pointing_game(heatmaps, masks, tolerance).tolist()
        expected = [_naive_pointing(heatmaps[i], masks[i], tolerance) for i in range(12)]
        assert got == expected
    assert 0 < sum(pointing_game(heatmaps, masks, 7.5).tolist()) < 12


def test_fifteen_pixels_are_near_enough_and_sixteen_are_not():
    heatmap = torch.zeros(1, 40, 40)
    heatmap[0, 20, 20] = 1.0
    for distance, hit in ((15, True), (16, False)):
        mask = torch.zeros(1, 40, 40, dtype=torch.bool)
        mask[0, 20, 20 - distance] = True
        assert pointing_game(heatmap, mask, ZHANG_TOLERANCE).item() is hit


def test_an_empty_region_is_never_hit():
    assert not pointing_game(torch.rand(1, 4, 4), torch.zeros(1, 8, 8, dtype=torch.bool), 99.0).any()


def test_energy_equals_a_naive_version():
    heatmaps = torch.stack([naive.distinct_heatmap(3, 4, seed) - 5 for seed in range(3)])
    masks = torch.rand(3, 11, 17, generator=torch.Generator().manual_seed(1)) > 0.5
    for image, energy in enumerate(energy_inside(heatmaps, masks).tolist()):
        values = naive.flat(heatmaps[image], 11, 17)
        inside = sum(v for v, t in zip(values, masks[image].flatten().tolist(), strict=True) if t)
        assert energy == pytest.approx(inside / sum(values), rel=1e-5)


def test_ignored_pixels_count_nowhere():
    heatmaps = torch.stack([naive.distinct_heatmap(3, 4, seed) for seed in range(3)])
    generator = torch.Generator().manual_seed(1)
    masks, ignore = (torch.rand(2, 3, 11, 17, generator=generator) > 0.5).unbind()
    for image, energy in enumerate(energy_inside(heatmaps, masks, ignore).tolist()):
        counted = (~ignore[image]).flatten().tolist()
        pixels = zip(
            naive.flat(heatmaps[image], 11, 17), masks[image].flatten().tolist(), counted, strict=True
        )
        kept = [(value, true) for value, true, counts in pixels if counts]
        inside = sum(value for value, true in kept if true)
        assert energy == pytest.approx(inside / sum(value for value, _ in kept), rel=1e-5)
    for image, hit in enumerate(pointing_game(heatmaps, masks, ignore=ignore).tolist()):
        order = naive.order(naive.flat(heatmaps[image], 11, 17))
        hottest = next(pixel for pixel in order if not ignore[image].flatten()[pixel])
        assert hit == masks[image].flatten()[hottest].item()
    assert not pointing_game(heatmaps, masks, 2.0, masks).any()


def test_energy_of_a_constant_map_is_zero():
    assert energy_inside(torch.full((1, 4, 4), 3.0), torch.ones(1, 8, 8, dtype=torch.bool)).item() == 0.0


def test_parity_with_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    from vitcam.evaluation.metrics.maps import pixel_maps

    heatmaps = torch.stack([naive.distinct_heatmap(4, 4, seed) for seed in range(8)])
    masks = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5
    arrays = {
        "model": None,
        "x_batch": torch.zeros(8, 1, 16, 16).numpy(),
        "y_batch": torch.zeros(8).long().numpy(),
        "a_batch": pixel_maps(heatmaps, (16, 16))[:, None].numpy(),
        "s_batch": masks.numpy(),
    }
    settings = {"abs": False, "normalise": False, "disable_warnings": True}
    energy = quantus.RelevanceMassAccuracy(**settings)(**arrays)
    assert energy_inside(heatmaps, masks[:, 0]).tolist() == pytest.approx(energy, abs=1e-6)
    # Quantus counts a hit when any of several hottest pixels is inside, we when the first of them is.
    hits = quantus.PointingGame(**settings)(**arrays)
    first = pointing_game(heatmaps, masks[:, 0]).tolist()
    assert all(hit or not ours for hit, ours in zip(hits, first, strict=True))

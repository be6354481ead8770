from __future__ import annotations

import naive_metrics as naive
import pytest
import torch

from vitcam.errors import ImageError
from vitcam.evaluation.metrics.maps import pixel_maps, pixel_ranks


def test_maps_equal_a_naive_version():
    heatmaps = torch.rand(2, 3, 5) * 7 - 3
    maps = pixel_maps(heatmaps, (13, 22))
    for heatmap, values in zip(heatmaps, maps, strict=True):
        torch.testing.assert_close(values, torch.tensor(naive.pixel_map(heatmap, 13, 22)), atol=1e-5, rtol=0)


def test_equal_pixels_rank_in_reading_order():
    maps = torch.randint(0, 4, (3, 20, 30)).float()
    for values, ranks in zip(maps, pixel_ranks(maps), strict=True):
        assert ranks.argsort().tolist() == naive.order(values.flatten().tolist())
        assert sorted(ranks.tolist()) == list(range(600))


def test_refuses_what_isnt_finite():
    with pytest.raises(ImageError, match="finite"):
        pixel_maps(torch.tensor([[[0.0, torch.inf]]]), (4, 4))

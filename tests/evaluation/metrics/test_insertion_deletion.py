from __future__ import annotations

import naive_metrics as naive
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from vitcam.evaluation.metrics.insertion_deletion import blur_fill, insertion_deletion, mean_fill


@pytest.mark.parametrize("fill_of", [mean_fill, blur_fill])
def test_equals_a_naive_version(case, fill_of):
    heatmaps = torch.stack([naive.distinct_heatmap(32, 24, seed) for seed in range(3)])
    fills, steps, n = fill_of(case.images), 5, 32 * 24
    curves = insertion_deletion(case.model, case.images, heatmaps, case.targets, fills, steps)
    for i in range(3):
        order = naive.order(naive.flat(heatmaps[i], 32, 24))
        deletion, insertion = [], []
        for step in range(steps + 1):
            k = n * step // steps
            deleted = naive.replaced(case.images[i], fills[i], order[:k])
            inserted = naive.replaced(case.images[i], fills[i], order[k:])
            deletion.append(case.probability(deleted, case.targets[i]))
            insertion.append(case.probability(inserted, case.targets[i]))
        assert curves.deletion[i].tolist() == pytest.approx(deletion, abs=1e-5)
        assert curves.insertion[i].tolist() == pytest.approx(insertion, abs=1e-5)
        # RISE's own rule: the ends weigh half.
        area = (sum(insertion) - insertion[0] / 2 - insertion[-1] / 2) / steps
        assert curves.auc_insertion[i].item() == pytest.approx(area, abs=1e-5)
        assert curves.auc_deletion[i].item() == pytest.approx(np.trapezoid(deletion, dx=1 / steps), abs=1e-5)


def test_computes_the_common_ends_once(case, passes):
    insertion_deletion(case.model, case.images, case.heatmaps, case.targets, mean_fill(case.images))
    assert sum(passes) == 3 * 2 * 28


def test_the_mean_is_each_images_own_colour(case):
    fills = mean_fill(case.images)
    for i in range(3):
        for channel in range(3):
            values = case.images[i, channel].flatten().tolist()
            assert fills[i, channel].item() == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_the_blur_is_torchvisions(case):
    torch.testing.assert_close(blur_fill(case.images), gaussian_blur(case.images, [11, 11], [5.0, 5.0]))


class _TopRows(nn.Module):
    """Class 1 is the likelier the brighter the top rows are; sees only the first channel."""

    def forward(self, images):
        brightness = images[:, 0].flatten(1)[:, :40].sum(1)
        return torch.stack([torch.zeros_like(brightness), brightness], dim=1)


def test_deletion_has_parity_with_quantus_pixel_flipping():
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    images = torch.rand(2, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    heatmaps = torch.stack([torch.randperm(120).view(12, 10).float() for _ in range(2)])
    targets = torch.tensor([1, 1])
    flipping = quantus.PixelFlipping(
        features_in_step=10, perturb_baseline=0.0, normalise=False, disable_warnings=True
    )
    theirs = flipping(
        model=_TopRows().eval(),
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=heatmaps[:, None].numpy(),
        softmax=True,
        channel_first=True,
    )
    # Quantus leaves out the untouched image, and removes channel by channel, so that only images of one
    # channel compare.
    black = torch.zeros(2, 3, 1, 1)
    ours = insertion_deletion(_TopRows(), images.expand(-1, 3, -1, -1), heatmaps, targets, black, steps=12)
    torch.testing.assert_close(
        ours.deletion[:, 1:].double(), torch.tensor(theirs).double(), atol=1e-5, rtol=0
    )

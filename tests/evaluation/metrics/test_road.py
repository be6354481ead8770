from __future__ import annotations

import naive_metrics as naive
import numpy as np
import pytest
import torch

from vitcam.errors import MetricError
from vitcam.evaluation.metrics.imputation import linear_imputation
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.metrics.road import PERCENTILES, road_curves


def _smooth_removal(height: int, width: int, fraction: float, seed: int) -> torch.Tensor:
    heatmap = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(seed))
    values = pixel_maps(heatmap, (height, width))[0]
    return values > torch.quantile(values.flatten(), 1 - fraction)


def _dense_imputation(image: torch.Tensor, removed: torch.Tensor) -> np.ndarray:
    """One equation per removed pixel, solved as a full matrix in float64."""
    height, width = removed.shape
    places = [(y, x) for y in range(height) for x in range(width) if removed[y, x]]
    index = {place: i for i, place in enumerate(places)}
    matrix, right = np.zeros((len(places),) * 2), np.zeros((len(places), 3))
    for (y, x), i in index.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if near == (y, x) or not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                matrix[i, i] += weight
                if near in index:
                    matrix[i, index[near]] -= weight
                else:
                    right[i] += weight * image[:, near[0], near[1]].double().numpy()
    filled = image.double().numpy().copy()
    for (y, x), values in zip(places, np.linalg.solve(matrix, right), strict=True):
        filled[:, y, x] = values
    return filled


@pytest.mark.parametrize("size", [(24, 20), (23, 31), (5, 40), (3, 3)])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_imputation_equals_a_dense_solve(size, fraction):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 4 - 2
    smooth = _smooth_removal(*size, fraction, seed=1)
    scattered = torch.rand(*size, generator=torch.Generator().manual_seed(2)) < fraction
    scattered[0, 0] = False
    removed = torch.stack([smooth, scattered])
    filled = linear_imputation(images, removed)
    for i in range(2):
        np.testing.assert_allclose(filled[i].numpy(), _dense_imputation(images[i], removed[i]), atol=1e-4)
        assert torch.equal(filled[i][:, ~removed[i]], images[i][:, ~removed[i]])


def test_imputation_has_parity_with_grad_cam():
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="grad-cam isn't installed")
    image = pixel_maps(torch.rand(3, 30, 30, generator=torch.Generator().manual_seed(0)), (96, 80)) * 4 - 2
    for fraction in (0.2, 0.9):
        removed = _smooth_removal(96, 80, fraction, seed=3)
        expected = road.NoisyLinearImputer(noise=0)(image, (~removed).float())
        torch.testing.assert_close(
            linear_imputation(image[None], removed[None])[0], expected, atol=2e-3, rtol=0
        )


def test_imputation_of_one_image_doesnt_depend_on_the_others():
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    removed = torch.stack([_smooth_removal(40, 40, fraction, seed=1) for fraction in (0.05, 0.3, 0.6, 0.95)])
    together = linear_imputation(images, removed)
    for i in range(4):
        alone = linear_imputation(images[i : i + 1], removed[i : i + 1])[0]
        torch.testing.assert_close(together[i], alone, atol=2e-5, rtol=0)


def test_nothing_removed_is_nothing_changed():
    images = torch.rand(1, 3, 9, 9)
    assert torch.equal(linear_imputation(images, torch.zeros(1, 9, 9, dtype=torch.bool)), images)


def test_refuses_to_impute_from_nothing():
    with pytest.raises(MetricError, match="every pixel is removed"):
        linear_imputation(torch.rand(1, 3, 9, 9), torch.ones(1, 9, 9, dtype=torch.bool))


def test_curves_equal_a_naive_version(case):
    heatmaps = torch.stack([naive.distinct_heatmap(32, 24, seed) for seed in range(3)])
    curves = road_curves(case.model, case.images, heatmaps, case.targets, (25, 50), noise=0.1, seed=5)
    noise = 0.1 * torch.randn(3, 32, 24, generator=torch.Generator().manual_seed(5))
    assert curves.fractions.tolist() == [0.25, 0.5]
    for i in range(3):
        order = naive.order(naive.flat(heatmaps[i], 32, 24))
        for column, k in enumerate((192, 384)):
            for curve, pixels in ((curves.morf, order[:k]), (curves.lerf, order[-k:])):
                removed = torch.zeros(32 * 24, dtype=torch.bool)
                removed[pixels] = True
                removed = removed.view(32, 24)
                filled = torch.from_numpy(_dense_imputation(case.images[i], removed)).float()
                expected = case.probability(filled + noise * removed, case.targets[i])
                assert curve[i, column].item() == pytest.approx(expected, abs=1e-3)


def test_has_parity_with_grad_cam(case, monkeypatch):
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="grad-cam isn't installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    monkeypatch.setattr(
        road.NoisyLinearImputer.__init__, "__defaults__", (0.0, road.neighbors_weights), raising=True
    )
    # Neither equal pixels nor percentiles between two pixels, on which the two round differently.
    heatmaps = torch.stack([torch.randperm(768).view(32, 24).float() for _ in range(3)])
    theirs = road.ROADCombined(percentiles=[20, 40, 60])(
        case.images,
        pixel_maps(heatmaps, (32, 24)).numpy(),
        [ClassifierOutputSoftmaxTarget(int(target)) for target in case.targets],
        case.model,
    )
    ours = road_curves(case.model, case.images, heatmaps, case.targets, (40, 60, 80), noise=0.0)
    np.testing.assert_allclose(ours.abpc.numpy() / 2, theirs, atol=5e-3)


def test_noise_is_seeded_and_the_same_in_every_batch(case):
    def curves(images, heatmaps, targets, **options):
        return road_curves(case.model, images, heatmaps, targets, (30, 70), noise=0.5, **options)

    whole = curves(case.images, case.heatmaps, case.targets)
    alone = curves(case.images[2:], case.heatmaps[2:], case.targets[2:], batch_size=3)
    other = curves(case.images, case.heatmaps, case.targets, seed=1)
    torch.testing.assert_close(whole.morf[2:], alone.morf, atol=1e-5, rtol=0)
    assert (whole.morf - other.morf).abs().max() > 1e-4


def test_makes_two_forward_passes_per_percentile(case, passes):
    road_curves(case.model, case.images[:1], case.heatmaps[:1], case.targets[:1])
    assert sum(passes) == 2 * len(PERCENTILES)


@pytest.mark.parametrize("percentiles", [(), (0, 50), (50, 100)])
def test_refuses_percentiles_at_or_beyond_the_ends(case, percentiles):
    with pytest.raises(MetricError, match="expected percentiles between 0 and 100"):
        road_curves(case.model, case.images, case.heatmaps, case.targets, percentiles)

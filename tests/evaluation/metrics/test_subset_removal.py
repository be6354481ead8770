"""Infidelity, faithfulness correlation and sensitivity-n, from the formulas of their papers."""

from __future__ import annotations

import math
from itertools import chain

import naive_metrics as naive
import numpy as np
import pytest
import torch
from torch import nn

from vitcam.errors import ImageError, MetricError
from vitcam.evaluation.metrics.cells import cells_of_pixels
from vitcam.evaluation.metrics.insertion_deletion import mean_fill
from vitcam.evaluation.metrics.subset_removal import DRAWS, FRACTIONS, subset_removal

HEIGHT, WIDTH = 32, 24


def drawn(fractions, draws, seed, cells=12):
    """The sets: the first n of as many random permutations."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randperm(cells, generator=generator)[: max(1, round(fraction * cells))].tolist()
            for _ in range(draws)
        ]
        for fraction in fractions
    ]


def pearson(first, second):
    a = [value - sum(first) / len(first) for value in first]
    b = [value - sum(second) / len(second) for value in second]
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def least_squares(heat, falls):
    """The least of mean (β·heat − fall)² over a fine grid of β ≥ 0, around what solves it."""
    best = np.dot(heat, falls) / np.dot(heat, heat)
    scales = [0.0, *(best * (1 + step / 1000) for step in range(-20, 21))]
    return min(
        float(np.mean([(s * h - f) ** 2 for h, f in zip(heat, falls, strict=True)])) for s in scales if s >= 0
    )


def test_equals_a_naive_version(case):
    fractions, draws, seed = (0.1, 0.25, 0.6), 5, 3
    heatmaps = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(1))
    found = subset_removal(case.model, case.images, heatmaps, case.targets, fractions, draws, seed=seed)
    for i in range(3):
        values = heatmaps[i].flatten().tolist()
        whole = case.probability(case.images[i], case.targets[i])
        heat, falls = [], []
        for n, sets in enumerate(drawn(fractions, draws, seed)):
            of_size, without = [], []
            for chosen in sets:
                pixels = [
                    y * WIDTH + x
                    for y in range(HEIGHT)
                    for x in range(WIDTH)
                    if (y // 8) * 3 + x // 8 in chosen
                ]
                image = naive.replaced(case.images[i], mean_fill(case.images)[i], pixels)
                of_size.append(sum(values[patch] for patch in chosen))
                without.append(whole - case.probability(image, case.targets[i]))
            assert found.sensitivity_n[i, n].item() == pytest.approx(pearson(of_size, without), abs=1e-3)
            heat += of_size
            falls += without
        assert found.falls[i].flatten().tolist() == pytest.approx(falls, abs=1e-5)
        assert found.heat[i].flatten().tolist() == pytest.approx(heat, abs=1e-5)
        assert found.infidelity[i].item() == pytest.approx(least_squares(heat, falls), rel=1e-2)
        assert found.faithfulness_correlation[i] == found.sensitivity_n[i, 1]  # 0.25 is the nearest to 0.2
    assert not found.falls.equal(
        subset_removal(case.model, case.images, heatmaps, case.targets, fractions, draws, seed=4).falls
    )


class _Additive(nn.Module):
    """The probability of class 1 is all but linear in the patches of 8×8: each counts by its weight."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights.repeat_interleave(8, 0).repeat_interleave(8, 1) / 64)

    def forward(self, images):
        logit = 1e-3 * (images[:, 0] * self.weights).sum((1, 2))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


@pytest.fixture
def additive():
    """A model, an image whose mean colour is 0, the heat that is its truth, and the target."""
    weights = torch.linspace(-1, 1, 12).view(4, 3) ** 3
    image = torch.ones(1, 3, HEIGHT, WIDTH)
    image[:, :, :8], image[:, :, 8:16] = 2, -3
    image -= image.mean()
    truth = weights * image[0, 0, ::8, ::8]
    return _Additive(weights).double(), image, truth, torch.tensor([1])


def test_the_truth_is_perfect_whatever_its_unit_and_its_opposite_is_not(additive):
    model, image, truth, target = additive
    maps = torch.stack([truth, 100 * truth, -truth, torch.ones(4, 3), torch.zeros(4, 3)])
    found = subset_removal(model, image, maps, target.repeat(5))
    silent = found.falls.square().mean((1, 2))
    ratio = (found.infidelity / silent).tolist()
    assert ratio[:2] == pytest.approx([0, 0], abs=1e-3)
    assert ratio[2] == ratio[4] == 1
    assert 0 < ratio[3] <= 1
    expected = torch.tensor([1.0, 1, -1, 0, 0], dtype=torch.float64)
    for number in (found.faithfulness_correlation, found.sensitivity_n.mean(1)):
        torch.testing.assert_close(number, expected, atol=1e-3, rtol=0)


def test_the_correlation_has_parity_with_quantus_on_the_same_sets(monkeypatch):
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    images = torch.rand(2, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    images -= images.mean((1, 2, 3), keepdim=True)  # so that the mean colour is Quantus' black
    heatmaps = torch.randn(2, 12, 10, generator=torch.Generator().manual_seed(1))
    targets, draws = torch.tensor([1, 1]), 8
    sets = iter([np.array(members) for members in drawn((0.2,), draws, 0, cells=120)[0] for _ in range(2)])
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(sets))
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=draws,
        subset_size=24,
        perturb_baseline=0.0,
        normalise=False,
        abs=False,
        return_aggregate=False,
        disable_warnings=True,
    )
    theirs = metric(
        model=naive.TopRows().eval(),
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=heatmaps[:, None].numpy(),
        softmax=True,
        channel_first=True,
    )
    ours = subset_removal(naive.TopRows(), images.expand(-1, 3, -1, -1), heatmaps, targets, (0.2,), draws)
    assert ours.faithfulness_correlation.tolist() == pytest.approx(theirs, abs=1e-4)


def test_infidelity_has_parity_with_captum_on_the_same_sets(case):
    metrics = pytest.importorskip("captum.metrics", reason="captum isn't installed")
    fractions, draws = (0.2, 0.5), 6
    heatmaps = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    heatmaps[2] += 1
    ours = subset_removal(case.model, case.images, heatmaps, case.targets, fractions, draws)
    masks = torch.zeros(len(fractions) * draws, 12)
    for mask, members in zip(masks, chain(*drawn(fractions, draws, 0)), strict=True):
        mask[members] = 1
    pixels = (
        masks[:, cells_of_pixels((4, 3), (HEIGHT, WIDTH))].view(-1, 1, HEIGHT, WIDTH).expand(-1, 3, -1, -1)
    )
    for i in range(3):
        heat = heatmaps[i].flatten()[cells_of_pixels((4, 3), (HEIGHT, WIDTH))].view(1, 1, HEIGHT, WIDTH)
        fill = mean_fill(case.images)[i]
        theirs = metrics.infidelity(
            lambda x, target=case.targets[i]: case.model(x).softmax(-1)[:, target],
            lambda x, fill=fill: (pixels, torch.where(pixels > 0, fill, x)),
            case.images[i : i + 1],
            heat.expand(1, 3, -1, -1) / (3 * 8 * 8),  # captum sums over the pixels
            n_perturb_samples=len(masks),
            normalize=True,
        )
        if (ours.heat[i] * ours.falls[i]).sum() > 0:  # captum's β may be negative
            assert ours.infidelity[i].item() == pytest.approx(theirs.item(), rel=1e-4)
        else:
            assert ours.infidelity[i].item() >= theirs.item()
    assert (ours.heat * ours.falls).sum((1, 2)).gt(0).sum() >= 2


def test_the_defaults_cost_as_many_passes_as_they_say(case, passes):
    found = subset_removal(case.model, case.images, case.heatmaps, case.targets)
    assert found.falls.shape == (3, len(FRACTIONS), DRAWS)
    assert sum(passes) == 3 * (1 + len(FRACTIONS) * DRAWS) == 3 * 151


def test_heatmaps_in_pixels_are_summed_over_the_patches(case):
    coarse = torch.rand(3, 4, 3)
    fine = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    given = case.model, case.images
    on_grid = subset_removal(*given, coarse, case.targets, (0.3,), 4)
    in_pixels = subset_removal(*given, fine, case.targets, (0.3,), 4, grid=(4, 3))
    torch.testing.assert_close(on_grid.heat, in_pixels.heat, atol=1e-6, rtol=0)
    assert on_grid.falls.equal(in_pixels.falls)


def test_cells_that_dont_divide_the_image():
    cells = cells_of_pixels((2, 3), (5, 7)).view(5, 7)
    assert cells[0].tolist() == [x * 3 // 7 for x in range(7)]
    assert cells[:, 0].tolist() == [y * 2 // 5 * 3 for y in range(5)]


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        (
            {"fractions": (0.5, 1.0)},
            MetricError,
            r"expected fractions between 0 and 1, such as .*, got \(0.5, 1.0\)",
        ),
        ({"fractions": ()}, MetricError, r"expected fractions between 0 and 1.*got \(\)"),
        ({"draws": 1}, MetricError, "expected two or more sets of each size, got draws=1"),
    ],
)
def test_errors(case, more, error, text):
    with pytest.raises(error, match=text):
        subset_removal(case.model, case.images, case.heatmaps, case.targets, **more)
    with pytest.raises(ImageError, match="finite"):
        subset_removal(case.model, case.images, case.heatmaps / 0, case.targets)

"""SRG, AOPC, LOdds, faithfulness estimate, IROF and completeness: naive versions, and Quantus' where it has one."""

from __future__ import annotations

import math

import naive_metrics as naive
import numpy as np
import pytest
import torch
from torch import nn

from vitcam import compare
from vitcam.errors import ImageError, TargetError
from vitcam.evaluation.cases import PerturbationCase, measured
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.metrics.completeness import completeness_error
from vitcam.evaluation.metrics.correlation import correlation
from vitcam.evaluation.metrics.insertion_deletion import blur_fill, mean_fill
from vitcam.evaluation.metrics.irof import irof_curves
from vitcam.evaluation.metrics.saco import group_removal

HEIGHT, WIDTH = 32, 24


def pearson(first, second):
    a, b = (np.asarray(values, dtype=float) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def patches(heatmap, chosen):
    """The pixels of the chosen patches of 8×8."""
    return [y * WIDTH + x for y in range(HEIGHT) for x in range(WIDTH) if (y // 8) * 3 + x // 8 in chosen]


def perturbation_case(case, heatmaps, **more):
    methods = len(heatmaps) // len(case.images)
    targets = case.targets.repeat(methods)
    return PerturbationCase(
        case.model, case.images, heatmaps, heatmaps, targets, False, "fp32", steps=4, seed=0, **more
    )


def follow(case, i, fill, order, steps, least=False):
    """The probability while pixels are replaced, the first in the order first, or the last."""
    points, fill = [], fill.expand_as(case.images)
    for step in range(steps + 1):
        count = len(order) * step // steps
        gone = order[len(order) - count :] if least else order[:count]
        points.append(case.probability(naive.replaced(case.images[i], fill[i], gone), case.targets[i]))
    return points


def trapezoid(points):
    return (sum(points) - (points[0] + points[-1]) / 2) / (len(points) - 1)


def test_srg_aopc_and_lodds_equal_naive_versions(case):
    heatmaps = torch.stack([naive.distinct_heatmap(HEIGHT, WIDTH, seed) for seed in range(3)])
    measures = [MEASURES[name] for name in ("srg", "aopc", "lodds", "abpc", "road")]
    found = measured(measures, perturbation_case(case, heatmaps))
    for i in range(3):
        order = naive.order(naive.flat(heatmaps[i], HEIGHT, WIDTH))
        fills = {"blur": blur_fill(case.images), "mean": mean_fill(case.images)}
        for name, fill in fills.items():
            most, least = (follow(case, i, fill, order, 4, least) for least in (False, True))
            expected = trapezoid(least) - trapezoid(most)
            assert found[f"srg_{name}"][i] == pytest.approx(expected, abs=1e-5)
        points = follow(case, i, torch.zeros(1, 1, 1), order, 4)
        assert found["aopc"][i] == pytest.approx(sum(points[0] - p for p in points) / 5, abs=1e-5)
        assert found["lodds"][i] == pytest.approx(sum(math.log(p / points[0]) for p in points) / 5, abs=1e-4)
    assert found["srg_grey"] == found["abpc"]
    assert found["srg_imputed"] == found["road_abpc"]
    assert len({*found["srg_blur"], *found["srg_mean"], *found["srg_grey"], *found["srg_imputed"]}) == 12


def test_a_probability_of_zero_has_finite_log_odds(case):
    case.model.head.weight.data.mul_(1e4)
    found = measured([MEASURES["lodds"]], perturbation_case(case, case.heatmaps))
    assert np.isfinite(found["lodds"]).all()


@pytest.mark.parametrize(
    ("names", "passes_each"),
    [
        (("abpc", "srg", "aopc", "lodds", "insertion-deletion", "road"), 6 + 12 + 18 + 1 + 3 + 1 / 3),
        (("saco", "faithfulness-estimate"), 11),
        (("infidelity", "faithfulness-correlation", "sensitivity-n"), 151),
    ],
)
def test_what_several_measures_are_made_from_is_computed_once(case, passes, names, passes_each):
    measured([MEASURES[name] for name in names], perturbation_case(case, case.heatmaps))
    shared = {"abpc": 1, "saco": 0, "infidelity": 0}[names[0]]
    assert sum(passes) == pytest.approx(3 * passes_each, abs=3 * shared)


def test_the_faithfulness_estimate_has_parity_with_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    images = torch.rand(2, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    images -= images.mean((1, 2, 3), keepdim=True)  # so that the mean colour is Quantus' black
    heatmaps = torch.stack([naive.distinct_heatmap(12, 10, seed) for seed in range(2)])
    targets = torch.tensor([1, 1])
    estimate = quantus.FaithfulnessEstimate(
        features_in_step=12, perturb_baseline=0.0, normalise=False, abs=False, disable_warnings=True
    )
    theirs = estimate(
        model=naive.TopRows().eval(),
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=heatmaps[:, None].numpy(),
        softmax=True,
        channel_first=True,
    )
    ours = group_removal(naive.TopRows(), images.expand(-1, 3, -1, -1), heatmaps, targets).estimate
    assert ours.tolist() == pytest.approx(list(theirs), abs=1e-4)


def test_irof_equals_a_naive_version(case):
    heatmaps = torch.stack([naive.distinct_heatmap(4, 3, seed) for seed in range(3)])
    with torch.no_grad():
        case.targets = case.model(case.images).argmax(1)
    for steps in (12, 5):
        found = irof_curves(case.model, case.images, heatmaps, case.targets, steps).irof
        for i in range(3):
            order = naive.order(heatmaps[i].flatten().tolist())
            points = []
            for step in range(steps + 1):
                gone = patches(heatmaps[i], order[: 12 * step // steps])
                image = naive.replaced(case.images[i], mean_fill(case.images)[i], gone)
                points.append(case.probability(image, case.targets[i]))
            expected = 1 - trapezoid([p / points[0] for p in points])
            assert found[i].item() == pytest.approx(expected, abs=1e-5)


def test_irof_has_parity_with_quantus_on_the_same_segments(monkeypatch):
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    segments = np.kron(np.arange(12).reshape(3, 4), np.ones((4, 4), dtype=int))
    monkeypatch.setattr("quantus.helpers.utils.get_superpixel_segments", lambda **_: segments)
    monkeypatch.setattr(
        np, "trapz", np.trapezoid, raising=False
    )  # which Quantus calls, and numpy 2.4 has no more
    images = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    images -= images.mean((1, 2, 3), keepdim=True)
    heatmaps = torch.stack([naive.distinct_heatmap(3, 4, seed) for seed in range(2)])
    targets = torch.tensor([1, 1])

    class Model(nn.Module):
        def forward(self, images):
            logit = 5 + (images[:, 0] * torch.linspace(-1, 1, 192).view(12, 16)).sum((1, 2))
            return torch.stack([torch.zeros_like(logit), logit], dim=1)

    metric = quantus.IROF(
        perturb_baseline=0.0, normalise=False, abs=False, return_aggregate=False, disable_warnings=True
    )
    theirs = metric(
        model=Model().eval(),
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=np.kron(heatmaps[:, None].numpy(), np.ones((4, 4))),
        softmax=True,
        channel_first=True,
    )
    ours = irof_curves(Model(), images.expand(-1, 3, -1, -1), heatmaps, targets, steps=12)
    assert ours.predicted.all()
    # Quantus leaves out the untouched image, and gives the number of segments instead of 1.
    points = (ours.probabilities / ours.probabilities[:, :1])[:, 1:].double()
    assert (12 - torch.trapezoid(points, dim=1)).tolist() == pytest.approx(theirs, abs=1e-4)


def test_irof_of_a_class_that_is_not_predicted_is_none(case):
    with torch.no_grad():
        predicted = case.model(case.images).argmax(1)
    case.targets = torch.tensor([int(predicted[0]), (int(predicted[1]) + 1) % 5, int(predicted[2])])
    found = measured([MEASURES["irof"]], perturbation_case(case, case.heatmaps))["irof"]
    assert [value is None for value in found] == [False, True, False]


class Linear(nn.Module):
    """Logits that are weighted sums of all pixels, and a constant."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * HEIGHT * WIDTH, 5)

    def forward(self, images):
        return self.linear(images.flatten(1))


def test_completeness_is_zero_for_a_map_that_adds_up_and_the_difference_else(case):
    model = Linear()
    exact = (model.linear.weight[case.targets] * case.images.flatten(1)).sum(1).detach()
    sums = torch.cat([exact, exact + torch.tensor([0.5, -1.0, 2.0])])
    found = completeness_error(model, case.images, sums, case.targets.repeat(2))
    assert found.tolist() == pytest.approx([0, 0, 0, 0.5, 1, 2], abs=1e-5)


def test_completeness_is_of_methods_that_claim_it(case):
    names = ("captum:IntegratedGradients(n_steps=30)", "agcam")
    both = compare(case.model, case.images, list(names), case.targets[:, None])
    heatmaps = torch.cat([one.heatmaps[:, 0] for one in both.values()])
    found = measured([MEASURES["completeness-error"]], perturbation_case(case, heatmaps, methods=names))
    errors = found["completeness_error"]
    assert errors[3:] == [None] * 3
    assert max(errors[:3]) < 0.02
    doubled = measured([MEASURES["completeness-error"]], perturbation_case(case, heatmaps * 2, methods=names))
    with torch.no_grad():
        logits = case.model(case.images) - case.model(torch.zeros_like(case.images[:1]))
    expected = logits[range(3), case.targets].abs().tolist()
    assert doubled["completeness_error"][:3] == pytest.approx(expected, abs=0.05)
    assert measured([MEASURES["completeness-error"]], perturbation_case(case, heatmaps)) == {}


def test_a_correlation_of_what_does_not_vary_is_zero():
    constant = torch.full((7,), 0.1).cumsum(0) * 0 + 1 / 3
    assert correlation(constant, torch.rand(7)).item() == 0
    assert correlation(torch.rand(7), constant).item() == 0
    assert correlation(torch.tensor([1.0, 2, 4]), torch.tensor([3.0, 1, 0])).item() == pytest.approx(
        pearson([1, 2, 4], [3, 1, 0])
    )


def test_errors(case):
    with pytest.raises(ImageError, match="finite"):
        irof_curves(case.model, case.images, case.heatmaps * torch.nan, case.targets)
    with pytest.raises(TargetError, match="the model's 5 classes, got 9"):
        completeness_error(case.model, case.images, torch.zeros(3), torch.tensor([0, 9, 1]))

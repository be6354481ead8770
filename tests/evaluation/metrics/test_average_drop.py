"""What is left of an explanation when the image is seen through it."""

from __future__ import annotations

import naive_metrics
import naive_sanity as naive
import pytest
import torch
from sanity_cases import make_case
from torch import nn

from vitcam.evaluation.metrics.average_drop import (
    adcc,
    arcc,
    average_drop,
    coherency,
    measured,
    measured_arcc,
)
from vitcam.evaluation.metrics.road import road_curves

METHODS = ("agcam", "rollout")


def test_equals_a_naive_version(case):
    sane = make_case(case.model, case.images, METHODS)
    found = measured(sane)
    for k, method in enumerate(m for m in METHODS for _ in range(3)):
        image, target = case.images[k % 3], int(sane.targets[k])
        heat = torch.tensor(naive_metrics.pixel_map(sane.heatmaps[k], 32, 24))
        seen = image * heat
        whole, masked = case.probability(image, target), case.probability(seen, target)
        drop = max(0.0, whole - masked) / whole
        again = naive_metrics.flat(naive.explained(case.model, seen, method, target), 32, 24)
        coherent = (naive.pearson(heat.flatten().tolist(), again) + 1) / 2
        area = sum(heat.flatten().tolist()) / heat.numel()
        assert found["average_drop"][k].item() == pytest.approx(drop, abs=1e-4)
        assert found["average_increase"][k].item() == (masked > whole)
        assert found["coherency"][k].item() == pytest.approx(coherent, abs=1e-4)
        assert found["map_area"][k].item() == pytest.approx(area, abs=1e-5)
        expected = 3 / (1 / coherent + 1 / (1 - area) + 1 / (1 - drop))
        assert found["adcc"][k].item() == pytest.approx(expected, abs=1e-4)
    curves = road_curves(case.model, case.images, sane.heatmaps, sane.targets, (20, 40, 60, 80), seed=0)
    for k, value in enumerate(measured_arcc(sane)["arcc"].tolist()):
        road = (curves.lerf[k] - curves.morf[k]).mean().clamp(0, 1).item()
        parts = (found["coherency"][k].item(), 1 - found["map_area"][k].item(), road)
        assert value == pytest.approx(3 / sum(1 / (part + 1e-12) for part in parts), abs=1e-5)


def test_arcc_is_that_of_grad_cam():
    theirs = pytest.importorskip("pytorch_grad_cam.metrics.arcc", reason="this grad-cam has no ARCC")
    torch.manual_seed(0)
    maps, again = torch.rand(2, 4, 8, 8).numpy()
    correlated = (theirs.batch_pearson_coherency(again, maps) + 1) / 2
    ours = coherency(torch.from_numpy(maps), torch.from_numpy(again))
    assert ours.tolist() == pytest.approx(list(correlated), abs=1e-5)
    assert maps.mean((1, 2)).tolist() == pytest.approx(list(theirs.Complexity()(maps)), abs=1e-6)


def test_parts_that_are_zero():
    one, none = torch.ones(1), torch.zeros(1)
    assert adcc(none, one, none).item() == 1
    for parts in ((one, one, none), (none, none, none), (none, one, one)):
        assert adcc(*parts).item() == 0
    assert arcc(-0.3 * one, one, none).item() == 0
    assert average_drop(none, one).item() == 0


def test_a_constant_map_is_coherent_with_none():
    maps = torch.rand(1, 4, 4)
    assert coherency(maps, maps).item() == pytest.approx(1)
    for pair in ((maps, maps * 0), (maps * 0, maps), (maps * 0, maps * 0)):
        assert coherency(*pair).item() == 0


class Left(nn.Module):
    """Reads the sum of the left half."""

    def forward(self, images):
        score = images[..., :4].sum((1, 2, 3))
        return torch.stack([score, -score], dim=1)


def test_a_map_of_what_is_read_loses_nothing():
    images, left = torch.full((1, 3, 8, 8), 0.02), torch.zeros(1, 8, 8)
    left[..., :4] = 1
    whole, good, bad = (
        Left()(images * shown).softmax(1)[:, 0] for shown in (torch.ones(1, 8, 8), left, 1 - left)
    )
    assert average_drop(whole, good).item() == 0
    assert average_drop(whole, bad).item() == pytest.approx(1 - 0.5 / whole.item())


def test_several_labels_have_sigmoids(case):
    sane = make_case(case.model, case.images, ("agcam",))
    several = make_case(case.model, case.images, ("agcam",), multi_label=True)
    with torch.no_grad():
        logits = case.model(case.images * several.pixels[:, None])
        whole = case.model(case.images).sigmoid()[range(3), several.targets]
    masked = logits.sigmoid()[range(3), several.targets]
    expected = ((whole - masked).clamp(min=0) / whole).tolist()
    assert measured(several)["average_drop"].tolist() == pytest.approx(expected, abs=1e-4)
    assert not torch.allclose(measured(sane)["average_drop"], measured(several)["average_drop"], atol=1e-3)


@pytest.mark.parametrize("compute", [measured, measured_arcc])
def test_no_logits_no_numbers(case, compute):
    assert compute(make_case(case.model, case.images, ("center",), logits=None)) == {}

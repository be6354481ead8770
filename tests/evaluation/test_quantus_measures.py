"""The measures ``quantus:NAME``: with a stand-in of the same call, and with Quantus itself."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import ClassVar

import miniature
import numpy as np
import pytest
import torch
from torch import nn

from vitcam.evaluation import RunError
from vitcam.evaluation.cases import PerturbationCase, measured
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.metrics.insertion_deletion import insertion_deletion
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.metrics.quantus_scores import Logits
from vitcam.report import read_runs, score_tables


class Metric:
    """As Quantus' metrics are made and called."""

    calls: ClassVar[list[dict]] = []

    def __init__(self, scale=1.0, disable_warnings=False, display_progressbar=True):
        self.scale = scale
        self.loud = display_progressbar or not disable_warnings

    def __call__(self, model, x_batch, y_batch, a_batch, s_batch=None, channel_first=None, device=None):
        Metric.calls.append({**locals(), "loud": self.loud})
        logits = model(torch.Tensor(x_batch).to(device))
        return [
            self.scale * self.score(a, float(row[y]))
            for a, row, y in zip(a_batch, logits, y_batch, strict=True)
        ]

    def score(self, heatmap, logit):
        return float(heatmap.mean()) + logit

    def evaluate_batch(self):
        raise NotImplementedError


class Curved(Metric):
    def score(self, heatmap, logit):
        return np.array([1.0, 2, 6])


class Random(Metric):
    def score(self, heatmap, logit):
        return float(np.random.rand() + torch.rand(1))


class Fails(Metric):
    def score(self, heatmap, logit):
        raise ValueError("masks are needed")


class Sufficiency(Metric):
    pass


class Worded(Metric):
    def __call__(self, **_):
        return {"text": "words"}


class Endless(Metric):
    def score(self, heatmap, logit):
        return float("nan")


@pytest.fixture(autouse=True)
def _entries():
    before = dict(MEASURES)
    Metric.calls = []
    yield
    for name in set(MEASURES) - set(before):
        del MEASURES[name]


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("quantus")
    for kind in (Metric, Curved, Random, Fails, Sufficiency, Worded, Endless):
        setattr(module, kind.__name__, kind)
    module.helper = lambda: None
    monkeypatch.setitem(sys.modules, "quantus", module)


def case(images=3, methods=2, model=None, **more):
    generator = torch.Generator().manual_seed(0)
    model = model or miniature.make_model(tuple("abcde")).module
    heatmaps = torch.rand(images * methods, 4, 4, generator=generator)
    given = {"multi_label": False, "precision": "fp32", "steps": 4, "seed": 0}
    return PerturbationCase(
        model,
        torch.randn(images, 3, 32, 32, generator=generator),
        heatmaps,
        heatmaps,
        (torch.arange(images) % 5).repeat(methods),
        **given | more,
    )


def scores(name, of):
    return measured([MEASURES.find(name)], of)


def test_a_metric_gets_pixels_logits_and_classes(fake):
    of = case()
    found = scores("quantus:Metric(scale=2.0)", of)["quantus:Metric(scale=2.0)"]
    maps = pixel_maps(of.heatmaps, (32, 32))
    with torch.no_grad():
        logits = of.model(of.images)
    expected = [2 * float(maps[k].mean() + logits[k % 3, of.targets[k]]) for k in range(6)]
    assert found == pytest.approx(expected, abs=1e-4)
    for k, call in enumerate(Metric.calls):
        assert call["x_batch"].shape == (1, 3, 32, 32)
        assert call["a_batch"].shape == (1, 1, 32, 32)
        assert isinstance(call["x_batch"], np.ndarray)
        assert isinstance(call["a_batch"], np.ndarray)
        assert call["y_batch"].tolist() == [k % 3]
        assert call["channel_first"] is True
        assert call["device"] == "cpu"
        assert isinstance(call["model"], nn.Module)
        assert not call["model"].training
        assert not call["loud"]
    assert len(Metric.calls) == 6


def test_a_run_stores_and_reports_it(fake, run, tmp_path):
    name = "quantus:Metric"
    summary = run("perturbation", protocol="vitcam", tests=[name, "saco"], limit=4)["perturbation"]
    assert {"agcam", "random"} <= set(summary)
    assert all(np.isfinite(numbers[name]) for numbers in summary.values())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tests"] == ["saco", name]
    (table,) = score_tables(read_runs([tmp_path / "run"]), metrics=[name])
    assert table.measure.better is None
    assert run("perturbation", protocol="vitcam", tests=[name, "saco"], limit=4)["perturbation"] == summary
    del MEASURES[name]  # another process has never heard of it
    (table,) = score_tables(read_runs([tmp_path / "run"]), metrics=[name])
    assert table.measure.better is None


def test_a_curve_has_the_mean_of_its_points(fake):
    found = scores("quantus:Curved", case())
    assert found == {"quantus:Curved": [3.0] * 6, "quantus:Curved curve": [[1.0, 2, 6]] * 6}


def test_what_is_drawn_at_random_is_seeded_image_by_image(fake):
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    whole, again = (scores("quantus:Random", case(seed=3)) for _ in range(2))
    assert whole == again
    assert set(whole["quantus:Random"]) == set(scores("quantus:Random", case(1, 1, seed=3))["quantus:Random"])
    assert whole != scores("quantus:Random", case(seed=4))
    assert (np.random.get_state()[1] == state).all()


def test_what_is_not_finite_is_no_number(fake):
    assert scores("quantus:Endless", case()) == {"quantus:Endless": [None] * 6}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "quantus:Metrik",
            r"Quantus has no metric 'Metrik'. Did you mean 'quantus:Metric'\? It has Curved, Endless,",
        ),
        ("quantus:helper", "Quantus has no metric 'helper'"),
        (
            "quantus:Metric(size=3)",
            "Quantus makes no Metric with size=3: .*unexpected keyword argument 'size'",
        ),
        ("quantus:Metric(scale=", "can't read the measure 'quantus:Metric.*write its options as in"),
        (
            "quantus:Fails",
            "quantus:Fails failed: ValueError: masks are needed\nvitcam gives it images, classes and",
        ),
        (
            "quantus:Sufficiency",
            "Sufficiency compares images with each other, so that there is no number of one",
        ),
        (
            "quantus:Worded",
            "quantus:Worded gives {'text': 'words'} for a heatmap: expected a number, or a list",
        ),
    ],
)
def test_errors(fake, name, text):
    with pytest.raises(RunError, match=text):
        scores(name, case())


def test_what_to_install_is_said(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "quantus", None)
    text = "quantus:Sparseness needs the library Quantus, which isn't installed: pip install quantus"
    with pytest.raises(RunError, match=text):
        run("perturbation", protocol="vitcam", tests=["quantus:Sparseness"])
    with pytest.raises(RunError, match="there is no measure 'quantus'"):
        MEASURES.find("quantus")


def test_the_models_softmax_is_hidden():
    """Quantus replaces the last nn.Softmax that it finds."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Softmax(-1), nn.Linear(5, 4))
    outside = Logits(model, "fp32")
    images = torch.rand(2, 3, 2, 2)
    assert [type(module) for module in outside.modules()] == [Logits]
    torch.testing.assert_close(outside(images), model(images))


def test_quantus_itself():
    pytest.importorskip("quantus", reason="Quantus isn't installed")
    of = case(images=2)
    before = {name: value.clone() for name, value in of.model.state_dict().items()}
    found = scores("quantus:Sparseness", of)
    for k, heatmap in enumerate(pixel_maps(of.heatmaps, (32, 32)).double().flatten(1)):
        values = (heatmap + 1e-7).sort().values  # as Quantus writes the Gini index
        ranks = torch.arange(1, len(values) + 1)
        gini = ((2 * ranks - len(values) - 1) * values).sum() / (values.sum() * len(values))
        assert found["quantus:Sparseness"][k] == pytest.approx(float(gini), abs=1e-3)
    name = "quantus:PixelFlipping(features_in_step=256, perturb_baseline=0.0)"
    curves = scores(name, of)[f"{name} curve"]
    assert np.shape(curves) == (4, 12)
    # Quantus removes channel by channel, so that only the end compares.
    ours = insertion_deletion(**of.given, fills=torch.zeros(2, 3, 1, 1), steps=4).deletion
    assert [curve[-1] for curve in curves] == pytest.approx(ours[:, -1].tolist(), abs=1e-4)
    assert all(value.equal(before[key]) for key, value in of.model.state_dict().items())

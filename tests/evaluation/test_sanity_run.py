"""Runs of the task that explains predictions, and explains them again."""

from __future__ import annotations

import json
from dataclasses import replace

import miniature
import numpy as np
import polars as pl
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from typer.testing import CliRunner

from vitcam.cli.program import program
from vitcam.errors import RunError
from vitcam.evaluation.measures import MEASURES, measures_of
from vitcam.evaluation.unmoved import unmoved_sentences
from vitcam.methods import METHODS
from vitcam.report import as_csv, as_latex, as_markdown, read_runs, report_page, score_tables
from vitcam.report.curves import mean_curves

CHEAP = ["complexity", "random-logit"]


def test_every_prediction_is_explained_right_or_wrong(run, folder, model):
    summary = run("sanity", tests=CHEAP)["sanity"]
    rows = folder.read().filter(pl.col("method").is_not_null())
    assert set(rows["correct"]) == {True, False}
    assert rows["target"].to_list() == rows["predicted"].to_list()
    assert rows["class_name"].to_list() == [miniature.CLASSES[target] for target in rows["target"]]
    for name, numbers in summary.items():
        assert (numbers["images"], numbers["unreadable"], numbers["skipped_wrong"]) == (23, 1, 0)
        own = rows.filter(pl.col("method") == name)
        assert own.height == 23
        assert numbers["sparseness"] == pytest.approx(own["sparseness"].mean())
    settings = json.loads((folder.path / "run.json").read_text())
    assert settings["protocol"] == "vitcam"
    assert settings["tests"] == ["random-logit", "complexity"]


def test_the_papers_protocol_has_none(run, tmp_path):
    with pytest.raises(
        RunError, match="paper protocol has no tests of the sanity task: --protocol vitcam has them"
    ):
        run("sanity", protocol="paper")
    assert not (tmp_path / "run").exists()


def test_no_truth_is_needed(run, folder, model):
    """Photographs of classes that the model doesn't know are explained, too; its classes need no names."""
    known = replace(model, class_names=("cat", "owl", "dog"))
    summary = run("sanity", model=known, methods=["rollout"], tests=["complexity"])["sanity"]["rollout"]
    assert (summary["images"], summary["unmatched"]) == (23, 0)
    rows = folder.read().filter(pl.col("method") == "rollout")
    hens = rows.filter(pl.col("image").str.starts_with("hen"))
    assert len(hens) == 7
    assert set(hens["correct"]) == {False}
    assert hens["class_name"].to_list() == [known.class_names[target] for target in hens["target"]]


def test_classes_without_names_have_numbers(run, folder, model):
    torch.manual_seed(0)
    module = VisionTransformer(
        img_size=miniature.SIDE, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=7
    ).eval()
    run(
        "sanity",
        model=replace(model, module=module, class_names=None),
        methods=["center"],
        tests=["complexity"],
    )
    rows = folder.read().filter(pl.col("method") == "center")
    assert {f"class {target}" for target in rows["target"]} == set(rows["class_name"])
    assert rows["label"].null_count() == len(rows)


class Cropping(nn.Module):
    """Looks at a part of the image."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images[..., 8:40, 16:48])


def test_measures_of_every_method(run, folder, model):
    """Also where patches cover a part of the image only, so that maps are given in pixels."""
    cropping = replace(
        model, module=Cropping(model.module), preprocessing=replace(model.preprocessing, size=(48, 64))
    )
    methods = [
        name
        for name, method in METHODS.items()
        if name in ("captum:Saliency", "gradcam")
        or not (name.startswith("captum:") or method.features or method.many_passes)
    ]
    tests = [
        measure.name
        for measure in measures_of("sanity")
        if "randomisation" not in measure.name.split("-")[-1]
    ] + ["efficient-randomisation"]
    summary = run("sanity", model=cropping, methods=methods, tests=tests, limit=1)["sanity"]
    numbers = [number.key for name in tests for number in MEASURES[name].numbers]
    for name in methods:
        assert all(np.isfinite(summary[name][key]) for key in numbers), name


def middle(model, images, targets):
    """Its own idea of what matters, whatever the model."""
    maps = torch.zeros(len(images), *images.shape[2:], device=images.device)
    maps[:, 10:20, 10:20] = 1
    return maps


def test_reports_begin_with_methods_that_nothing_moves(run, folder, monkeypatch):
    monkeypatch.setitem(METHODS, "middle", middle)
    said = []
    tests = ["randomisation", "random-logit"]
    run("sanity", methods=["agcam", "rollout", "middle"], tests=tests, limit=2, tell=said.append)
    weights = (
        "The maps of middle stay the same when the model's weights are drawn anew: they say nothing about what it "
        "has learned."
    )
    other = (
        "The maps of rollout and middle stay the same for another class: they don't say why the model chose this "
        "one."
    )
    assert {weights, other} <= set(said)
    runs = read_runs([folder.path])
    tables = score_tables(runs)
    assert as_markdown(tables, runs).splitlines()[:3] == [f"> run: {weights}", "", f"> run: {other}"]
    assert as_latex(tables, runs).splitlines()[1:3] == [f"% run: {weights}", f"% run: {other}"]
    page = report_page(runs, tables)
    assert page.index("The maps of middle stay the same when") < page.index("<main>")
    printed = (
        CliRunner().invoke(program, ["report", str(folder.path), "--no-html"], env={"COLUMNS": "400"}).output
    )
    assert printed.splitlines()[:2] == [f"run: {weights}", f"run: {other}"]
    assert "The maps of" not in as_csv(tables)
    assert "agcam has the lowest Cascade, SSIM" in page
    curves = mean_curves(runs[0], "sanity", "cascade_ssim_curve", "depth")
    assert curves["agcam"].x.tolist() == pytest.approx([k / 6 for k in range(1, 7)])
    assert curves["middle"].mean.tolist() == pytest.approx([1] * 6)


def test_all_similarities_must_say_so():
    (ssim, rank), *_ = (
        measure.numbers for measure in measures_of("sanity") if measure.name == "random-logit"
    )
    by_method = {"agcam": 0.4, "rollout": 1.0, "random": 1.0, "center(width=0.3)": 1.0}
    (sentence,) = unmoved_sentences([(ssim, by_method), (rank, by_method)])
    assert sentence.startswith("The maps of rollout stay the same for another class")
    assert not unmoved_sentences([(ssim, by_method), (rank, {**by_method, "rollout": 0.9})])
    assert not unmoved_sentences([(replace(ssim, unmoved=""), by_method)])

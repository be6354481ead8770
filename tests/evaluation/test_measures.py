"""What a measure declares is computed and shown wherever measures are."""

from __future__ import annotations

import io
import re
import runpy
from functools import partial
from pathlib import Path

import miniature
import numpy as np
import pytest
import torch
from markupsafe import escape
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from vitcam.cli.evaluate import _print_summary
from vitcam.cli.program import program
from vitcam.evaluation import Dataset, RunError, Sample, evaluate
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.measure import ALL, TASKS, Curve, Measure, Number
from vitcam.evaluation.measures import MEASURES, measures_of
from vitcam.evaluation.protocol import not_measured
from vitcam.report import as_csv, as_latex, as_markdown, read_runs, report_page, score_tables
from vitcam.report.latex import _latex
from vitcam.report.text import _markdown

DOCS, TOOLS = (Path(__file__).parents[2] / name for name in ("docs", "tools"))


class Halves:
    """Masks: the left half is the object."""

    def mask(self, labels):
        return np.arange(40)[None].repeat(40, axis=0) < 20

    def void(self, labels):
        return np.zeros((40, 40), dtype=bool)


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def dataset():
    samples = [
        Sample(f"{i}", None, (i % 3,), segmentation=Halves(), pixels=partial(noise, i)) for i in range(12)
    ]
    classes = tuple(map(DatasetClass, miniature.CLASSES))
    return Dataset("made", Path(), classes, tuple(samples), read=lambda sample: sample)


def spread(case):
    maps = case.heatmaps.flatten(1)
    return {"spread": maps.std(1), "hotter": torch.stack([(maps > maps.mean()).float().mean(1)] * 3, 1)}


ADDED = Measure(
    "spread",
    "localization",
    spread,
    (Number("spread", "Spread & more", "How far values are from each other.", "lower", source="nowhere"),),
    (Curve("hotter", "Hotter against nothing", "Hotter", "Share", "thresholds", "Threshold"),),
    ("vitcam",),
)
NAMES = (*MEASURES, ADDED.name)
COMPLETE = "captum:IntegratedGradients(n_steps=2)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of vitcam's protocol with a measure more; its summary, tables and texts."""
    MEASURES[ADDED.name] = ADDED
    try:
        folder = tmp_path_factory.mktemp("run") / "run"
        model = miniature.make_model()
        settings = {"protocol": "vitcam", "batch_size": 6, "workers": 0, "steps": 3}
        named = [name for name in NAMES if name not in MEASURES or MEASURES[name].task != "sanity"]
        summary = evaluate("all", dataset(), model, ["agcam", COMPLETE], folder, tests=named, **settings)
        sane = tmp_path_factory.mktemp("sanity") / "run"
        summary |= evaluate("sanity", dataset(), model, ["agcam"], sane, limit=6, **settings)
        console = Console(file=io.StringIO(), width=400)
        for task in TASKS:
            _print_summary(console, task, summary[task])
        runs = read_runs([folder, sane])
        tables = score_tables(runs)
        arguments = ["report", str(folder), str(sane), "--no-html"]
        yield {
            "summary": summary,
            "names": dict.fromkeys(ALL, str(folder)) | {"sanity": str(sane)},
            "evaluate's table": console.file.getvalue(),
            "report's tables": CliRunner().invoke(program, arguments, env={"COLUMNS": "400"}).output,
            "page": report_page(runs, tables),
            "LaTeX": as_latex(tables, runs),
            "Markdown": as_markdown(tables, runs),
            "CSV": as_csv(tables),
            "documentation": runpy.run_path(str(TOOLS / "hooks.py"))["on_page_markdown"](
                (DOCS / "reference" / "evaluation.md").read_text()
            ),
        }
    finally:
        del MEASURES[ADDED.name]


@pytest.mark.parametrize("name", NAMES)
def test_a_declared_measure_is_computed_and_shown_everywhere(run, name):
    measure = ADDED if name == ADDED.name else MEASURES[name]
    method = COMPLETE if name == "completeness-error" else "agcam"
    numbers = run["summary"][measure.task][method]
    for number in measure.numbers:
        assert np.isfinite(numbers[number.key])
        for place, text in (
            ("report's tables", number.title),
            ("page", escape(number.title)),
            ("page", escape(number.meaning)),
            ("LaTeX", _latex(number.title)),
            ("LaTeX", _latex(number.meaning)),
            ("Markdown", _markdown(number.title)),
            ("CSV", f"{run['names'][measure.task]},{measure.task},{number.key},{method},"),
            ("documentation", f"| `{name}` | `{number.key}` | {number.title} | {number.better} |"),
        ):
            shown = " ".join(run[place].split()) if place == "report's tables" else run[place]  # it wraps
            assert text in shown, place
    assert measure.in_brief
    for number in measure.in_brief:
        header = re.split(r"\s{2,}", " ".join(run["evaluate's table"].split("\n")))
        assert (number.short or number.title) in header
    for curve in measure.curves:
        assert len(numbers[curve.key]) > 1 or curve.plot == ""
        if curve.plot:
            assert escape(curve.plot) in run["page"]
            assert escape(curve.panel) in run["page"]


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_measure_of_ours_is_described(name):
    assert f"| `{name}` |" in (DOCS / "protocol.md").read_text()
    assert name in CliRunner().invoke(program, ["evaluate", "--help"], env={"COLUMNS": "200"}).output


def test_declarations_are_consistent():
    keys = [key for measure in MEASURES.values() for key in measure.columns]
    assert len(keys) == len(set(keys))
    for measure in MEASURES.values():
        assert set(measure.stored) <= set(measure.columns)
        columns = {number.key for number in measure.numbers if number.together is None}
        assert set(measure.columns) == columns | {curve.key for curve in measure.curves}
    assert {task: measures_of(task)[0].name for task in TASKS} == {
        "localization": "iou",
        "perturbation": "abpc",
        "sanity": measures_of("sanity")[0].name,
    }


@pytest.mark.parametrize(
    ("compute", "problem"),
    [
        (lambda case: {"other": case.heatmaps.flatten(1).std(1)}, r"gives 'other', which it doesn't declare"),
        (lambda case: {"spread": [1.0]}, r"gives 1 values of spread for \d heatmaps: expected one of each"),
        (lambda case: {"spread": case.heatmaps.flatten(1)}, r"gives a curve as spread: expected a number"),
        (lambda case: {"hotter": case.heatmaps[:, 0, 0]}, r"gives a number as hotter: expected a curve"),
        (lambda case: case.heatmaps, r"returns a Tensor: expected its columns by name"),
    ],
)
def test_what_a_measure_gives_is_checked(monkeypatch, tmp_path, compute, problem):
    measure = Measure("spread", "localization", compute, ADDED.numbers, ADDED.curves, ("vitcam",))
    monkeypatch.setitem(MEASURES, "spread", measure)
    settings = {"protocol": "vitcam", "tests": ["spread"], "batch_size": 6, "workers": 0}
    with pytest.raises(RunError, match=f"the measure spread {problem}"):
        evaluate("localization", dataset(), miniature.make_model(), ["center"], tmp_path / "run", **settings)


@pytest.mark.parametrize("form", [torch.Tensor.bool, lambda maps: maps.bool().numpy(), torch.Tensor.tolist])
def test_forms_of_numbers(monkeypatch, tmp_path, form):
    measure = Measure(
        "spread", "localization", lambda case: {"spread": form(case.heatmaps[:, 0, 0])}, ADDED.numbers
    )
    monkeypatch.setitem(MEASURES, "spread", measure)
    settings = {"protocol": "vitcam", "tests": ["spread"], "batch_size": 6, "workers": 0}
    model, folder = miniature.make_model(), tmp_path / "run"
    summary = evaluate("localization", dataset(), model, ["center"], folder, **settings)
    assert 0 < summary["localization"]["center"]["spread"] <= 1


def test_what_is_not_measured_is_said(monkeypatch):
    monkeypatch.setitem(MEASURES, "spread", ADDED)
    assert not_measured(["spread"], {"iou": 0.5}) == [
        "Not measured: spread, since no explanation has numbers of it"
    ]

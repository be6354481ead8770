"""Runs that end before all images are measured: a budget, a width, and what is said of what is done."""

from __future__ import annotations

import json
import time
from itertools import chain, count
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from vitcam.errors import RunError
from vitcam.evaluation import open_dataset, stopping
from vitcam.evaluation.plan import Plan
from vitcam.evaluation.rows import failed_row, to_frame
from vitcam.evaluation.settings import RunSettings
from vitcam.evaluation.statistics import bootstrap_interval
from vitcam.evaluation.stopping import Limits, Shares
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.times import Times, duration, timed
from vitcam.evaluation.widths import widest_interval
from vitcam.report import read_runs


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever a run looks at it."""
    clock = count()
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: next(clock)))


def measured(path, task="localization"):
    return list(RunFolder(path).stored(task))


def first_of(data, images):
    """The names of the first so many images in random order, sorted."""
    order = np.random.default_rng((0, 1)).permutation(24)[:images]
    ids = open_dataset(f"folder:{data}").ids
    return sorted(ids[index] for index in order)


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("2h", 7200), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("1h 1s", 3601), (2, 2), (0.5, 0.5)],
)
def test_budgets(budget, seconds):
    assert Limits.of(budget, None).budget == seconds
    assert seconds == 0.5 or Limits.of(duration(seconds), None).budget == seconds


@pytest.mark.parametrize(
    "budget", ["", "2", "h", "30m1h", "2 hours", "-1s", "0s", -1, 0, float("nan"), float("inf")]
)
def test_what_is_no_duration(budget, run, tmp_path):
    with pytest.raises(RunError, match=r"budget must be a duration above 0, such as 2h, 90m, 45s or 1h30m"):
        run(budget=budget)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("width", [0, -0.1, float("nan")])
def test_what_is_no_width(width, run):
    with pytest.raises(RunError, match=r"target_width must be a number above 0, such as 0\.01"):
        run(target_width=width)


def test_a_budget_is_shared_among_tasks(ticking):
    shares = Shares(Limits(budget=100), 2)  # begins at 0
    assert shares.next() == 1 + 99 / 2
    assert shares.next() == 2 + 98  # what the first one left is the second's
    assert Shares(Limits(), 1).next() is None


def test_the_first_images_are_a_sample_of_all():
    """By every image's chance to be among the first eight of 64, over seeds; and of which batches."""
    plan = Plan(tuple(range(0, 128, 2)), 0, False, True)
    firsts = [plan.shuffled(seed).batches(8)[0] for seed in range(400)]
    counts = np.bincount(np.concatenate(firsts) // 2, minlength=64)
    assert counts.sum() == 3200
    assert ((counts - 50) ** 2 / 50 / (1 - 1 / 8)).sum() < 103  # chi², 63 degrees of freedom, p = 0.001
    whole = plan.shuffled(3)
    assert sorted(chain.from_iterable(whole.batches(8))) == list(plan.indices)
    assert whole.batches(8) == plan.shuffled(3).batches(8) != plan.batches(8)


def test_a_budget_ends_a_run_and_the_next_goes_on(run, data, folder, tmp_path, ticking):
    told = []
    summary = run("all", budget=6, steps=2, tell=told.append)
    first = {task: measured(folder.path, task) for task in ("localization", "perturbation")}
    for task, images in first.items():
        facts = summary[task]["agcam"]
        assert images == first_of(data, {"localization": 12, "perturbation": 4}[task])
        assert (facts["planned"], facts["stopped"]) == (24, "budget")
        sentence = next(each for each in told if f"of 24 images of the {task} task are measured" in each)
        assert f"{len(images)} of 24" in sentence
        assert "in random order, so that they are an unbiased sample: the time given is used up." in sentence
    assert json.loads((folder.path / "summary.json").read_text()) == summary
    (report,) = read_runs([folder.path])
    assert all("in random order, an unbiased sample, stopped by its budget" in gap for gap in report.gaps)

    told.clear()
    again = run("all", budget=10**6, steps=2, tell=told.append)
    assert "24 of 24 images of the localization task are measured: all there are" in told
    assert again["localization"]["agcam"]["stopped"] is None
    assert not read_runs([folder.path])[0].gaps
    whole = run("all", budget=10**6, steps=2, output=tmp_path / "whole")
    assert again == whole
    assert folder.read().equals(RunFolder(tmp_path / "whole").read())


def test_without_a_budget_a_shuffled_run_keeps_its_order(run, folder, tmp_path, ticking):
    run(budget=3)
    assert folder.settings()["order"] == "random"
    assert len(measured(folder.path)) == 8
    facts = run()["localization"]["agcam"]
    assert (facts["planned"], facts["stopped"], len(measured(folder.path))) == (24, None, 24)
    run(output=tmp_path / "whole", budget=10**6)
    assert folder.read().equals(RunFolder(tmp_path / "whole").read())


def test_a_run_in_the_datasets_order_takes_no_budget(run, folder):
    run(limit=4)
    before = (folder.path / "summary.json").read_bytes()
    assert "order" not in folder.settings()
    for limits in ({"budget": "1h"}, {"target_width": 0.1}):
        with pytest.raises(
            RunError, match=r"begun without a budget or target width, in the dataset's own order"
        ):
            run(limit=4, **limits)
    assert (folder.path / "summary.json").read_bytes() == before


def _widest(rows: pl.DataFrame) -> float:
    """By the naive bootstrap of every mean's images."""
    scored = rows.filter(pl.col("method").is_not_null())
    widths = []
    for _, of_method in scored.group_by("method"):
        for key in ("abpc", "auc_lerf", "auc_morf"):
            interval = bootstrap_interval(of_method[key].to_numpy())
            widths.append(float(interval.high - interval.low))
    return max(widths)


def test_a_run_ends_when_no_interval_is_too_wide(run, data, folder, monkeypatch):
    monkeypatch.setattr(stopping, "LEAST", 3)
    told, given = [], {"batch_size": 2, "steps": 2, "store_every": 600}
    facts = run("perturbation", target_width=0.06, tell=told.append, **given)["perturbation"]["agcam"]
    rows, done = folder.read(), measured(folder.path, "perturbation")
    assert done == first_of(data, len(done))
    assert (facts["stopped"], facts["planned"]) == ("target width", 24)
    widest = _widest(rows)
    assert 0 < widest <= 0.06 < _widest(rows.filter(pl.col("image").is_in(first_of(data, len(done) - 2))))
    assert any(
        f"no interval is wider than 0.06, the widest interval is {widest:.3g} (" in each for each in told
    )

    assert run("perturbation", target_width=0.06, **given)["perturbation"]["agcam"] == facts
    assert folder.read().equals(rows)  # at once
    narrower = run("perturbation", target_width=0.0001, **given)["perturbation"]["agcam"]
    assert (narrower["stopped"], len(measured(folder.path, "perturbation"))) == (None, 24)


@pytest.mark.parametrize("least", [24, 25])
def test_few_images_are_never_enough(run, data, folder, monkeypatch, least):
    monkeypatch.setattr(stopping, "LEAST", least)
    run("localization", target_width=10.0)
    assert len(measured(folder.path)) == 24  # of which a part is scored


def test_numbers_that_are_all_the_same_have_a_width(folder):
    """A control that always hits says little of the images to come."""
    settings = RunSettings("perturbation", "paper", ("center",), 0.5, 10, None, 8, "fp32", 0)
    rows = [
        failed_row("perturbation", f"{i:03}", "")
        | {"method": "center", "target": 0, "correct": True, "error": None, "abpc": 1.0}
        for i in range(60)
    ]
    folder.create()
    folder.begin({})
    folder.append(to_frame(rows, {"abpc": "number"}))
    widest = widest_interval(folder.stored_rows, "perturbation", settings, 60)
    assert (widest.width, str(widest)) == (3 / 60, "0.05 (ABPC, center)")
    assert widest_interval(folder.stored_rows, "perturbation", settings, 61) is None


def test_times(folder, run):
    told = []
    run("perturbation", steps=2, tell=told.append, limit=8)
    seconds = folder.times()["perturbation"]["seconds"]
    assert folder.times()["perturbation"]["images"] == 8
    parts = {"waiting", "explaining", "measure abpc", "pictures", "storing"}
    assert {*seconds} == {*parts, "reading", "total"}
    assert 0.8 * seconds["total"] < sum(seconds[part] for part in parts) <= seconds["total"] + 0.01
    (sentence,) = (each for each in told if each.startswith("Time of the perturbation task: 8 images in "))
    for part in ("measures ", "(abpc ", "; photographs were read in "):
        assert part in sentence
    told.clear()
    run("perturbation", steps=2, tell=told.append, limit=8)  # nothing was to be done
    assert not any(each.startswith("Time") for each in told)
    assert folder.times()["perturbation"]["seconds"] == seconds


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"localization": 7}', '{"localization": {"seconds": {"total": "x"}}}']
)
def test_damaged_times_harm_nothing(run, folder, content):
    run(limit=8, budget=10**6)
    (folder.path / "times.json").write_text(content)
    assert folder.times() == {}
    assert run(limit=8)["localization"]["agcam"]["stopped"] is None
    assert folder.times()["localization"]["done"] == 8


def test_a_phase_takes_as_long_as_what_is_in_it():
    times = Times()
    with times.counting(), timed("explaining"):
        time.sleep(0.05)
    with timed("explaining"):  # nobody counts
        time.sleep(0.05)
    assert times.seconds["explaining"] >= 0.05
    assert list(times.seconds) == ["explaining"]

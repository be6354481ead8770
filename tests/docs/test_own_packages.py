"""The pages on methods, measures and datasets of one's own, as a package that is installed."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_data import make_things
from doc_pages import REPOSITORY, blocks_of

from vitcam.bench.run import run_bench
from vitcam.bench.settings import Settings
from vitcam.evaluation.datasets import KINDS
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.store import RunFolder
from vitcam.methods import METHODS
from vitcam.models import SOURCES

PAGES = ("docs/own-method.md", "docs/own-measure.md", "docs/own-dataset.md", "docs/own-model.md")
_FILE = re.compile(r"# (mypackage/\w+\.py)\n")
_GROUP = re.compile(r'\[project\.entry-points\."([\w.]+)"\]\n(\w+) = "([\w.:]+)"')


def install(site: Path) -> None:
    """Writes what the pages' files and entry points say, as pip would."""
    (site / "mypackage").mkdir(parents=True)
    (site / "mypackage" / "__init__.py").touch()
    groups: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "python" and (file := _FILE.match(block.text)):
                (site / file[1]).write_text(block.text, encoding="utf-8")
            elif block.language == "toml":
                group, name, value = _GROUP.fullmatch(block.text).groups()
                groups.setdefault(group, []).append(f"{name} = {value}")
    info = site / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    lines = [line for group, entries in groups.items() for line in (f"[{group}]", *entries)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the data, and beside it the installed package."""
    root = tmp_path_factory.mktemp("own")
    install(root / "site")
    make_things(root / "things")
    return root


@pytest.fixture(scope="module", autouse=True)
def others_see_none_of_it():
    """What is tried in this process is forgotten by the registries."""
    registries = (METHODS, MEASURES, KINDS, SOURCES)
    before = [{name: copy.copy(value) for name, value in vars(each).items()} for each in registries]
    yield
    for registry, state in zip(registries, before, strict=True):
        vars(registry).update(state)


def vitcam(place, *words, path=True):
    paths = [str(REPOSITORY / "src"), *([str(place / "site")] if path else [])]
    result = subprocess.run(
        [sys.executable, "-m", "vitcam", *map(str, words)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_the_files_of_the_pages_are_short(place):
    files = sorted((place / "site" / "mypackage").glob("*.py"))
    assert {file.stem for file in files} >= {"value_norm", "input_gradient", "area", "listed", "tiny"}
    for file in files:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        code = [line for line in lines if not line.startswith(("import", "from", ")", "class", "@"))]
        assert len(code) <= 20, file


def test_entry_points_have_short_names(place):
    status, output = vitcam(place, "methods")
    assert status == 0, output
    for text in ("value_norm", "attention × the length of the values", "layer=-1", "input_gradient"):
        assert text in output
    status, output = vitcam(place, "models")
    assert status == 0, output
    assert re.search(r"^ *tiny ", output, re.MULTILINE)
    words = ["evaluate", "localization", "--data", "listed:things", "--limit", 3, "-o", "by-name"]
    words += [
        "--method",
        "value_norm(layer=3)",
        "--method",
        "input_gradient",
        "--test",
        "iou",
        "--test",
        "area",
    ]
    status, output = vitcam(place, *words)
    assert status == 0, output
    assert "Hot area" in output
    rows = RunFolder(place / "by-name").read()
    assert set(rows["method"]) == {"value_norm(layer=3)", "input_gradient", "random", "center"}
    assert rows.filter("correct")["area"].null_count() == 0
    status, output = vitcam(place, *words)  # goes on with it, in a process of its own
    assert status == 0
    assert "3 of 3 images of the localization task are stored already" in output
    status, output = vitcam(place, "report", "by-name", "-f", "latex", "--metric", "area")
    assert status == 0, output
    assert "Hot area" in output
    assert r"$\downarrow$" in output


def test_modules_and_objects_need_no_entry_points(place):
    (place / "mypackage").symlink_to(place / "site" / "mypackage")  # not installed, but in the current folder
    words = ["evaluate", "localization", "--data", "mypackage.listed:KIND:things", "--limit", 3]
    words += ["--method", "mypackage.value_norm:METHOD(layer=3)", "--test", "mypackage.area:MEASURE"]
    words += ["--data-option", "file=boxes.csv", "-o", "by-reference"]
    status, output = vitcam(place, *words, path=False)
    assert status == 0, output
    assert "Hot area" in output
    settings = json.loads((place / "by-reference" / "run.json").read_text())
    assert settings["tests"] == ["mypackage.area:MEASURE"]
    assert settings["methods"][0] == "mypackage.value_norm:METHOD(layer=3)"
    by_name, by_reference = (RunFolder(place / name).read() for name in ("by-name", "by-reference"))
    ours = by_name.filter(method="value_norm(layer=3)").sort("image")["area"].to_list()
    theirs = (
        by_reference.filter(method="mypackage.value_norm:METHOD(layer=3)").sort("image")["area"].to_list()
    )
    assert theirs == ours
    status, output = vitcam(place, "report", "by-reference", path=False)  # which imports nothing of it
    assert status == 0, output
    assert "area" in output
    method = ("--method", "mypackage.input_gradient:input_gradient")
    status, output = vitcam(place, "explain", "things/cat/0.jpg", *method, "-o", "out", path=False)
    assert status == 0, output
    model = ("--model", "mypackage.tiny:build", "--target", "cup")
    status, output = vitcam(place, "explain", "things/cat/0.jpg", *model, "-o", "own-model", path=False)
    assert status == 0, output
    assert json.loads((place / "own-model" / "manifest.json").read_text())["model"]["spec"] == model[1]


@pytest.mark.slow
def test_bench_times_them(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place / "site"))
    name = "mypackage.value_norm:METHOD(layer=0)"
    settings = Settings("embedded:photo", batches=(1,), methods=(name,), repeats=1, parts=("methods",))
    rows = {row.name: row for group in run_bench(settings) for row in group.rows}
    assert rows[name].status != "failed"
    del METHODS["mypackage.value_norm:METHOD"]


@pytest.mark.slow
def test_workers_of_a_cluster_import_them(place):
    pytest.importorskip("ray", reason="Ray isn't installed")
    words = ["evaluate", "localization", "--data", "mypackage.listed:KIND:things", "--limit", 3]
    words += ["--method", "mypackage.value_norm:METHOD", "--method", "input_gradient"]
    words += ["--test", "mypackage.area:MEASURE", "--cluster", "local", "--workers", 1, "-o", "on-ray"]
    status, output = vitcam(place, *words)
    assert status == 0, output
    rows = RunFolder(place / "on-ray").read()
    assert rows.height == 3 * 4
    assert rows.filter("correct")["area"].null_count() == 0


def test_what_is_broken_is_named_and_breaks_nothing_else(place, tmp_path):
    site = tmp_path / "broken"
    (site / "badpackage-1.0.dist-info").mkdir(parents=True)
    (site / "badpackage.py").write_text("import nothing_of_that_name\n")
    (site / "badpackage-1.0.dist-info" / "METADATA").write_text("Name: badpackage\nVersion: 1.0\n")
    groups = ("vitcam.methods", "vitcam.measures", "vitcam.datasets", "vitcam.models")
    text = "".join(f"[{group}]\nbad = badpackage:THING\n" for group in groups)
    (site / "badpackage-1.0.dist-info" / "entry_points.txt").write_text(text)
    (tmp_path / "site").symlink_to(place / "site")
    (tmp_path / "things").symlink_to(place / "things")
    for file in site.iterdir():
        if not (place / "site" / file.name).exists():
            (place / "site" / file.name).symlink_to(file)
    try:
        status, output = vitcam(place, "methods")
        assert status == 0
        assert "value_norm" in output
        assert (
            "'bad' of the package badpackage (badpackage:THING) can't be used: ModuleNotFoundError" in output
        )
        evaluate = (
            "evaluate",
            "localization",
            "--data",
            "folder:things",
            "-o",
            tmp_path / "run",
            "--limit",
            3,
        )
        for what, words in (
            ("measure", (*evaluate, "--test", "bad")),
            ("source of models", ("explain", "things/cat/0.jpg", "--model", "bad", "-o", tmp_path / "out")),
            ("dataset", ("evaluate", "localization", "--data", "bad:things", "-o", tmp_path / "run")),
        ):
            status, output = vitcam(place, *words)
            assert status in (1, 2)
            assert f"the {what} 'bad' of the package badpackage" in " ".join(output.split())
    finally:
        for file in site.iterdir():
            (place / "site" / file.name).unlink()

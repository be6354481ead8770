"""``vitcam evaluate`` and ``vitcam train-head`` as they are typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import count
from types import SimpleNamespace

import miniature
import pytest
from typer.testing import CliRunner

from vitcam.cli.program import program
from vitcam.evaluation import stopping


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return miniature.make_dataset(tmp_path_factory.mktemp("data"), images=6)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return miniature.make_dataset(tmp_path_factory.mktemp("sound"), images=6, broken=False)


def vitcam(*words):
    result = CliRunner().invoke(program, [str(word) for word in words], env={"COLUMNS": "150"})
    return result.exit_code, result.output


def test_evaluate(sound, tmp_path):
    command = (
        "evaluate",
        "all",
        "--data",
        f"folder:{sound}",
        "--method",
        "agcam",
        "--steps",
        "2",
        "--limit",
        "4",
    )
    status, output = vitcam(*command, "-o", tmp_path / "run")
    assert status == 0, output
    assert "2 of 3 classes matched by name" in output
    assert "Photographs left out because the model doesn't know their classes ('hen'): " in output
    for word in ("Localization", "Perturbation", "agcam", "random", "center", "ABPC"):
        assert word in output
    assert f"Rows and intervals are in {tmp_path / 'run'}; `vitcam report {tmp_path / 'run'}` makes" in output
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (settings["limit"], settings["steps"], settings["task"]) == (4, 2, "all")

    status, output = vitcam(*command, "--seed", "1", "-o", tmp_path / "run")
    assert status == 1
    assert "seed: 0 in the run, 1 now" in output

    status, output = vitcam(*command, "-o", tmp_path / "run")
    assert status == 0
    assert "4 of 4 images of the localization task are stored already" in output


def test_evaluate_for_machines(sound, tmp_path):
    """Standard output is the summary and nothing else."""
    words = ["evaluate", "localization", "--data", f"folder:{sound}", "--method", "center", "--limit", "2"]
    result = CliRunner().invoke(program, [*words, "--json", "-o", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(json.loads(result.stdout)["localization"]) == ["center", "random"]


def test_a_budget(sound, tmp_path, monkeypatch):
    clock = count()
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    command = ("evaluate", "localization", "--data", f"folder:{sound}", "--method", "center")
    command += ("--batch-size", 1, "-o", tmp_path / "run")
    status, output = vitcam(*command, "--budget", "half an hour")
    assert status == 1
    assert "budget must be a duration above 0, such as 2h, 90m, 45s or 1h30m" in output
    status, output = vitcam(*command, "--budget", "3s", "--target-width", 0.2)
    assert status == 0, output
    assert "2 of 4 images of the localization task are measured, in random order" in output
    assert "Time of the localization task: 2 images in " in output
    assert "2 of 4 images measured, in random order; stopped by the budget" in output
    status, output = vitcam(*command)
    assert status == 0
    assert "stopped by" not in output
    status, output = vitcam(*command, "--target-width", 0)
    assert status == 1
    assert "target_width must be a number above 0" in output


def test_photographs_that_cannot_be_used_are_named(data, tmp_path):
    status, output = vitcam(
        "evaluate", "localization", "--data", f"folder:{data}", "--method", "center", "-o", tmp_path / "run"
    )
    assert status == 1
    assert f"{miniature.BROKEN} " in output
    assert "1 that can't be read or compared with" in output


def test_no_photograph_that_can_be_used_is_no_table(tmp_path):
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "a.png").write_bytes(b"broken")
    words = ("evaluate", "perturbation", "--data", f"folder:{tmp_path / 'data'}", "-o", tmp_path / "run")
    status, output = vitcam(*words)
    assert status == 1
    assert "0 images; left out: 1 that can't be read" in output
    assert "Method" not in output


def test_an_interrupt_says_how_to_go_on(sound, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vitcam.evaluation.work.batch_rows", interrupt)
    words = ("evaluate", "perturbation", "--data", f"folder:{sound}", "-o", tmp_path / "run")
    status, output = vitcam(*words)
    assert status not in (0, 1)
    assert "Interrupted. What is done is stored; the same command goes on from there" in output


def test_localization_needs_something_to_compare_with(data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(data, bare, ignore=shutil.ignore_patterns("*.csv"))
    status, output = vitcam("evaluate", "all", "--data", f"folder:{bare}", "-o", tmp_path / "run")
    assert status == 1
    assert "compares heatmaps with boxes or masks, and none of the" in output
    assert "`vitcam evaluate perturbation`" in output
    assert not (tmp_path / "run").exists()


def test_chosen_tests_without_pictures(sound, tmp_path):
    words = ("evaluate", "perturbation", "--data", f"folder:{sound}", "--limit", "2", "-o", tmp_path / "run")
    status, output = vitcam(*words, "--protocol", "vitcam", "--test", "saco", "--no-gallery")
    assert status == 0, output
    assert "SaCo" in output
    assert "ABPC" not in output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tests"] == ["saco"]
    assert not (tmp_path / "run" / "gallery").exists()
    status, output = vitcam(*words, "--test", "saco")
    assert status == 1
    assert (
        "the paper protocol has no test 'saco'; --protocol vitcam has it. Its tests are perturbation: abpc"
        in output
    )


@pytest.mark.parametrize(
    ("blocked", "words", "remedy"),
    [
        ("polars", ["report", "run"], "need Polars, which isn't installed: pip install 'vitcam[eval]'"),
        ("polars", ["evaluate", "all"], "need Polars, which isn't installed: pip install 'vitcam[eval]'"),
        (
            "ray",
            ["evaluate", "all", "--cluster", "local"],
            "needs Ray, which isn't installed: pip install 'vitcam",
        ),
    ],
)
def test_says_what_to_install(data, tmp_path, blocked, words, remedy):
    if words[0] == "evaluate":
        words = [*words, "--data", f"folder:{data}", "-o", "run"]
    code = f"import sys; sys.modules[{blocked!r}] = None; from vitcam.cli import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert remedy in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


def test_wrong_usage(data, tmp_path):
    status, output = vitcam("evaluate", "detection", "--data", f"folder:{data}", "-o", tmp_path / "run")
    assert status == 2
    assert "'detection' is not one of" in output
    status, output = vitcam(
        "evaluate", "all", "--data", f"folder:{data}", "--data-option", "x", "-o", tmp_path / "run"
    )
    assert status == 2
    assert "expected KEY=VALUE, got 'x'" in output
    status, output = vitcam(
        "evaluate", "all", "--data", f"folder:{data}", "--data-option", "colour=red", "-o", tmp_path / "run"
    )
    assert status == 1
    assert "the folder dataset has no option 'colour'" in output


def test_train_head_says_what_was_left_out(sound, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(sound, data)
    shutil.copy(data / "cat" / "00.png", data / "loose.png")
    (data / "hen").rename(tmp_path / "hen")
    (data / "hen").mkdir()
    shutil.copy(tmp_path / "hen" / "02.png", data / "hen" / "02.png")
    (data / "boxes.csv").unlink()
    words = (
        "train-head",
        "--data",
        f"folder:{data}",
        "-o",
        tmp_path / "head.safetensors",
        "--held-out",
        "0.6",
    )
    status, output = vitcam(*words)
    assert status == 0, output
    assert f"left out, being directly in {data} and in no class folder: 1 of its photographs" in output
    assert "Classes without a photograph to learn from: " in output


def test_train_head(data, tmp_path):
    status, output = vitcam(
        "train-head", "--data", f"folder:{data}", "-o", tmp_path / "head.safetensors", "--held-out", "0.34"
    )
    assert status == 0, output
    assert "Held-out accuracy" in output
    assert "on 2 photographs; trained on 4 others, of 3 classes in all; 1 can't be read" in output
    assert "Classes without" not in output
    assert f"Use it as --model embedded:photo+{tmp_path / 'head.safetensors'}" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "head.features.safetensors",
        "head.safetensors",
    ]

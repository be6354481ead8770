"""The program itself: lists, version, help, and real processes."""

import json
import os
import subprocess
import sys

import pytest

import vitcam as library
from vitcam.evaluation.datasets import KINDS
from vitcam.methods import METHODS
from vitcam.models import describe_models

HEAVY = ("torch", "timm", "numpy", "PIL", "matplotlib", "torchvision")


def process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from vitcam.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    assert "HEAVY []" in process("-c", code, *arguments).stdout


def test_version(vitcam):
    assert vitcam("--version").stdout == f"vitcam {library.__version__}\n"


def test_help_names_the_commands(vitcam):
    for command in ("explain", "methods", "models"):
        assert command in vitcam("--help").stdout


def test_unknown_command(vitcam):
    result = vitcam("explian")
    assert result.exit_code == 2
    assert "explian" in result.stderr


def test_methods_lists_every_method_with_its_options(vitcam, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = vitcam("methods").stdout
    for method in METHODS.values():
        assert any(line.split()[:1] == [method.name] for line in text.splitlines())
        for option, default in method.options.items():
            assert f"{option}={default!r}" in text
        assert method.paper in text
        assert method.passes in text
    (agcam,) = [line for line in text.splitlines() if line.split()[:1] == ["agcam"]]
    assert agcam.split()[-3:] == ["yes", "plain", "ViTs"]
    (center,) = [line for line in text.splitlines() if line.split()[:1] == ["center"]]
    assert center.split()[-2:] == ["no", "any"]


def test_the_help_names_every_kind_of_dataset(vitcam, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    listed = vitcam("evaluate", "--help").stdout.partition("KIND is ")[2].partition(";")[0]
    assert set(listed.replace(" or ", ", ").split(", ")) == set(KINDS.ours)


def test_models_lists_every_source(vitcam):
    text = vitcam("models").stdout
    for source in describe_models():
        for pattern in source.patterns:
            assert pattern in text
        assert source.example in text


def test_models_says_how_to_install_what_is_missing(vitcam, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("vitcam.models.sources.find_spec", lambda name: None if name == "transformers" else 1)
    assert "no: pip install 'vitcam[hf]'" in vitcam("models").stdout


@pytest.mark.parametrize("command", ["methods", "models"])
def test_lists_fit_the_terminal(command, vitcam, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, vitcam(command).stdout.splitlines())) <= 80


def test_a_real_process_with_a_name_that_the_terminal_cannot_show(photos, tmp_path):
    file = tmp_path / "\udcff.jpg"  # a byte that is no UTF-8
    file.write_bytes((photos / "cup.jpg").read_bytes())
    arguments = ("explain", file, "--boxes", "-o", tmp_path / "out")
    done = process("-m", "vitcam", *arguments, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "?.jpg" in done.stdout
    assert "cup" in done.stdout
    (image,) = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["images"]
    assert image["file"] == str(file)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "\udcff.agcam.npy",
        "\udcff.panel.png",
    ]


def test_a_real_process_that_fails(photos, tmp_path):
    done = process("-m", "vitcam", "explain", photos / "cup.jpg", "-t", "kup", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.startswith("Error: embedded:photo has no class called 'kup'. Nearest: 'cup'")
    assert len(done.stderr.splitlines()) == 1

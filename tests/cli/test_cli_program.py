"""The program itself: lists, version, help, and real processes."""

import json
import os
import re
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


def test_methods_and_models_as_json(vitcam):
    methods = {each["name"]: each for each in json.loads(vitcam("methods", "--json").stdout)}
    assert list(methods) == list(METHODS)
    assert methods["agcam"]["options"]["normalization"] == METHODS["agcam"].options["normalization"]
    assert (methods["agcam"]["class_specific"], methods["center"]["plain_vit_only"]) == (True, False)
    kinds = json.loads(vitcam("models", "--json").stdout)
    assert [kind["example"] for kind in kinds] == [source.example for source in describe_models()]
    found = json.loads(vitcam("models", "torchvision:vit_b", "--json").stdout)
    assert found == {"models": ["torchvision:vit_b_16", "torchvision:vit_b_32"], "not_searched": []}
    nothing = vitcam("models", "no such model", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)["models"]) == (1, [])
    both = vitcam("models", "embedded:photo", "--inspect", "--json")
    assert both.exit_code == 2
    assert "leave out one of the two" in " ".join(both.stderr.replace("│", " ").split())


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


def test_models_are_found_by_words_of_their_names(vitcam):
    lines = vitcam("models", "SMALL dinov2").stdout.splitlines()
    assert "timm:vit_small_patch14_dinov2.lvd142m" in lines
    assert all({"small", "dinov2"} <= set(re.findall("small|dinov2", line)) for line in lines)
    assert vitcam("models", "torchvision:vit_b").stdout.splitlines() == [
        "torchvision:vit_b_16",
        "torchvision:vit_b_32",
    ]
    assert "open_clip:ViT-B-32/laion2b_s34b_b79k" in vitcam("models", "laion2b_s34b_b79k").stdout.splitlines()
    assert vitcam("models", "embedded").stdout.splitlines() == ["embedded:photo"]


def test_a_search_that_finds_nothing_says_so(vitcam, monkeypatch):
    monkeypatch.setattr("vitcam.models.sources.find_spec", lambda name: None if name == "open_clip" else 1)
    result = vitcam("models", "no such model")
    assert result.exit_code == 1
    assert "open_clip isn't installed, so its models weren't searched" in result.stderr
    assert "no model has 'no such model' in its name" in result.stderr
    assert vitcam("models", "--inspect").exit_code == 2


def test_classes_are_listed_and_searched(vitcam):
    result = vitcam("classes")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "62 classes of embedded:photo"
    result = vitcam("classes", "CAT")
    rows = [line.split()[:2] for line in result.stdout.splitlines() if re.match(r" *\d+ ", line)]
    assert rows[:3] == [["1", "cat"], ["2", "big"], ["6", "cattle"]]
    assert "3 classes of 62 of embedded:photo" in result.stdout
    result = vitcam("classes", "zzz")
    assert result.exit_code == 1
    assert "embedded:photo has no class with 'zzz' in its name, among 62" in result.stderr


def test_shells_complete(vitcam):
    assert "--install-completion" in vitcam("--help").stdout


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

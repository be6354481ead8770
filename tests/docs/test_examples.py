"""The example scripts run offline, and show what they say they show."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from doc_pages import REPOSITORY

from vitcam.photos import photo_path

EXAMPLES = REPOSITORY / "examples"
PHOTO = str(photo_path("cat_and_cup"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a script with these arguments in an empty folder; gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_timm_model(run, tmp_path):
    printed = run("timm_model", PHOTO, "--model", "vit_tiny_patch16_224", "--random-weights")
    assert [line.rpartition(" ")[2] for line in printed.splitlines()] == sorted(
        p.name for p in tmp_path.iterdir()
    )
    assert len(printed.splitlines()) == 3


def test_without_weights_the_way_out_is_said(run, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(SystemExit, match="Can't load timm:vit_tiny_patch16_224") as stopped:
        run("timm_model", PHOTO, "--model", "vit_tiny_patch16_224")
    assert "--random-weights" in str(stopped.value)


def test_hugging_face(run):
    assert re.findall(r"^\w+", run("hugging_face", PHOTO, "--random-weights"), re.MULTILINE) == [
        "agcam",
        "gradcam",
        "rollout",
    ]


def test_torchvision_model(run, tmp_path):
    printed = run("torchvision_model", PHOTO, "--random-weights")
    assert len(re.findall(r"hottest box \(\d+, \d+, \d+, \d+\)", printed)) == 5
    assert (tmp_path / "cat_and_cup.overlay.png").exists()


def test_clip_prompts(run):
    printed = run("clip_prompts", PHOTO, "a cat", "a cup", "a dog", "--random-weights")
    probabilities = [float(number) for number in re.findall(r"([\d.]+) %", printed)]
    assert len(probabilities) == 3
    assert sum(probabilities) == pytest.approx(100, abs=0.2)


def test_own_module_looks_at_the_square(run):
    printed = run("own_module", "--steps", "100")
    shares = {
        name: int(share) for name, share in re.findall(r"^(\w+) +(\d+) % of the heat", printed, re.MULTILINE)
    }
    assert "predicted right: 100 %" in printed
    assert shares["agcam"] > 2 * max(shares["random"], shares["center"])


def test_captum_interop(run, tmp_path):
    assert "captum's own Saliency gives the same map: True" in run("captum_interop")
    assert (tmp_path / "captum.png").exists()


def test_quantus_interop(run):
    printed = run("quantus_interop")
    scores = re.findall(r"[+-]\d\.\d\d", printed)
    assert len(scores) == 3 * 3
    assert len(set(scores)) > 3  # other methods, other scores


def test_every_example_is_listed():
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f"`{script.name}`" in page

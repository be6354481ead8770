"""A paper's evaluation in one command: what is run, its tables, the figures beside them, and going on."""

from __future__ import annotations

import json

import miniature
import pytest
from typer.testing import CliRunner

from vitcam.cli.program import program
from vitcam.evaluation import RunError, evaluate
from vitcam.evaluation.reproducing import Reproduced, laid_out, reproduce
from vitcam.models import SOURCES

OURS = {
    "localization": {"random": {"iou": 0.1}, "agcam": {"iou": 0.5, "intervals": {"iou": [0.4, 0.6]}}},
}


def test_it_is_the_run_of_the_papers_protocol(tmp_path):
    """The same numbers as of ``evaluate`` with everything spelled out; the same call goes on."""
    data = f"folder:{miniature.make_dataset(tmp_path / 'data', images=4, broken=False)}"
    model, told = miniature.make_model(), []
    ours = reproduce("agcam", data, tmp_path / "run", model=model, more=["tempercam", "agcam"])
    methods = ["rollout", "lrp", "agcam", "tempercam"]
    assert ours == evaluate("all", data, model, methods, tmp_path / "spelled", protocol="paper")
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (settings["protocol"], settings["steps"], settings["threshold"]) == ("paper", 10, 0.5)
    again = reproduce("agcam", data, tmp_path / "run", model=model, more=["tempercam"], tell=told.append)
    assert again == ours
    assert "4 of 4 images of the perturbation task are stored already and are skipped" in told


def test_the_command_lays_out_the_papers_tables(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "tiny", lambda pretrained=True: miniature.make_model())
    data = miniature.make_dataset(tmp_path / "data", images=4, broken=False)
    figures = tmp_path / "figures.json"
    figures.write_text('{"perturbation": {"agcam": {"abpc": 0.987}}}')
    words = ["reproduce", "agcam", "--data", f"folder:{data}", "--model", "tiny", "--limit", "2"]
    words += ["--published", str(figures), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(program, words, env={"COLUMNS": "150"})
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    headings = [line for line in lines if line[:1] == ["Method"]]
    assert headings[0][1:4] == ["pixel", "acc.", "paper"]
    assert headings[1][1:] == ["LeRF", "↑", "paper", "MoRF", "↓", "paper", "ABPC", "↑", "paper"]
    rows = [line for line in lines if line and line[0] in ("rollout", "lrp", "agcam", "random", "center")]
    assert [row[0] for row in rows[-5:]] == ["rollout", "lrp", "agcam", "random", "center"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["perturbation"]["agcam"]
    lerf, morf, abpc = (f"{summary[key]:.3f}" for key in ("auc_lerf", "auc_morf", "abpc"))
    assert rows[-3][1:] == [lerf, "–", morf, "–", abpc, "0.987"]


def test_figures_stand_beside_what_was_measured():
    tables = laid_out("agcam", OURS, {"localization": {"lrp": {"iou": 0.2}, "agcam": {"iou": 0.3}}})
    rows = tables["localization"]
    assert list(tables) == ["localization"]
    assert list(rows) == ["lrp", "agcam", "random"]
    assert [rows[name]["IoU"] for name in rows] == [
        Reproduced(None, None, 0.2),
        Reproduced(0.5, (0.4, 0.6), 0.3),
        Reproduced(0.1, None, None),
    ]


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ([], "published figures are by task, method and column"),
        ({"localization": {"agcam": 1}}, "published figures are by task, method and column"),
        ({"sanity": {}}, "no table of 'sanity'. Those that it has: localization, perturbation"),
        (
            {"localization": {"agcam": {"abpc": 0.1}}},
            "localization has no column 'abpc'. Its columns are: pixel",
        ),
        (
            {"localization": {"agcam": {"iou": 54.1}}},
            "iou of agcam is a fraction, at most 1; got 54.1. Divide",
        ),
        ({"localization": {"agcam": {"iou": "0.5"}}}, "iou of agcam is a fraction, at most 1; got '0.5'"),
    ],
)
def test_figures_in_another_form(published, message):
    with pytest.raises(RunError, match=message):
        laid_out("agcam", OURS, published)


def test_what_can_not_be_repeated(tmp_path):
    with pytest.raises(RunError, match=r"no paper is known as 'legrad'. Those that are: agcam"):
        reproduce("legrad", "imagenet:x", tmp_path / "run")
    with pytest.raises(RunError, match=r"that arXiv 2402.04563 has for cub can't be had .*: name one"):
        reproduce("agcam", "cub:x", tmp_path / "run")
    (tmp_path / "figures.json").write_text("{")
    words = ["reproduce", "agcam", "--data", "imagenet:x", "-o", "run", "--published"]
    result = CliRunner().invoke(program, [*words, str(tmp_path / "figures.json")])
    assert result.exit_code == 1
    assert "can't read the published figures in" in result.output

"""``vitcam report``."""

import csv
import io
import re
import subprocess
import sys

import pytest
from report_runs import rows_of, write_run
from typer.testing import CliRunner

from vitcam.cli.program import program


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", rows_of())


def vitcam(*arguments):
    return CliRunner().invoke(program, ["report", *map(str, arguments)], prog_name="vitcam")


def test_tables_and_page(folder):
    result = vitcam(folder)
    assert result.exit_code == 0
    assert "Localization: Means" in result.stdout
    assert "− agcam" not in result.stdout  # one table of means, and where the rest is
    assert "Intervals and paired differences: on the page, with --metric NAME" in result.stdout
    assert f"The page is in {folder / 'report.html'}" in result.stderr
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_metric_in_full(folder):
    result = vitcam(folder, "--metric", "iou")
    assert "Localization: IoU" in result.stdout
    assert "− agcam" in result.stdout
    assert "< 0.001" in result.stdout or "0.001" in result.stdout


def test_formats(folder, tmp_path):
    assert vitcam(folder, "--format", "markdown").stdout.startswith("## Localization")
    assert r"\toprule" in vitcam(folder, "-f", "latex").stdout
    lines = list(csv.DictReader(io.StringIO(vitcam(folder, "-f", "csv", "--metric", "iou").stdout)))
    assert [line["method"] for line in lines] == ["agcam", "rollout", "random"]
    for format in ("table", "markdown", "csv", "latex"):
        output = tmp_path / "new" / format
        result = vitcam(folder, "-f", format, "--output", output)
        assert result.stdout == ""
        assert "rollout" in output.read_text(encoding="utf-8")


def test_page_elsewhere_or_nowhere(folder, tmp_path):
    assert vitcam(folder, "--html", tmp_path / "a" / "b.html").exit_code == 0
    assert (tmp_path / "a" / "b.html").is_file()
    vitcam(folder, "--no-html")
    assert not (folder / "report.html").exists()


def test_page_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    result = vitcam(folder, "--html", tmp_path / "file" / "page.html")
    assert result.exit_code == 1
    assert "Localization: Means" in result.stdout
    assert "not a folder. --html FILE puts the page elsewhere, --no-html writes none" in result.stderr


def test_several_runs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "other", rows_of(seed=3))
    result = vitcam(folder, other)
    assert result.exit_code == 0
    assert "Run" in result.stdout
    assert (tmp_path / "report.html").is_file()


def test_an_unfinished_run_is_reported(tmp_path):
    folder = write_run(tmp_path / "run", rows_of(), images=100)
    result = vitcam(folder)
    assert result.exit_code == 0
    assert "run: The localization task has done 30 of 100 images" in result.stdout


def test_errors_are_sentences(folder, tmp_path):
    for arguments, problem in (
        ([tmp_path / "missing"], "is not a run"),
        ([write_run(tmp_path / "empty", [], parts=0)], "has no rows yet"),
        ([folder, "--metric", "iuo"], "no run has the metric 'iuo'. There are: iou"),
        ([folder, "--reference", "lrp"], "no run has the method 'lrp'"),
        ([folder, "--html", folder / "run.json" / "x.html"], "can't write"),
    ):
        result = vitcam(*arguments)
        assert result.exit_code == 1
        assert problem in result.stderr
        assert "Traceback" not in result.output


def test_reporting_needs_no_torch(folder):
    code = (
        "import sys\nfrom vitcam.report import *\n"
        f"runs = read_runs([{str(folder)!r}])\n"
        "report_page(runs, score_tables(runs))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "latex"])
def test_no_name_of_a_run_a_method_or_a_class_acts_on_a_terminal(tmp_path, format):
    acts = "\x1b]0;taken\x07\x9b2J\r\x08\x7f\u202e"
    rows = rows_of(methods=("agcam", f"random{acts}"), class_names=[acts, f"dog{acts}", "owl"])
    folders = [write_run(tmp_path / f"{name}{acts}", rows, images=40) for name in ("one", "two")]
    result = vitcam(*folders, "-f", format, "--html", tmp_path / f"page{acts}.html")
    assert result.exit_code == 0
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.output)

"""Markdown, LaTeX and CSV."""

import csv
import io
import shutil
import subprocess

import pytest
from report_runs import HOSTILE, rows_of, write_run

from vitcam.report import as_csv, as_latex, as_markdown, read_runs, score_tables
from vitcam.report.figures import p_value, plain, signed
from vitcam.report.listing import as_grids


@pytest.fixture
def runs(tmp_path):
    return read_runs([write_run(tmp_path / "my_run", rows_of(), images=40)])


def test_csv_has_all_digits(runs):
    tables = score_tables(runs)
    lines = list(csv.DictReader(io.StringIO(as_csv(tables))))
    assert len(lines) == sum(len(table.rows) for table in tables)
    first, second = tables[0].rows[:2]
    assert float(lines[0]["mean"]) == first.estimate.mean
    assert lines[0]["difference"] == ""
    assert lines[0]["leads"] == "1"
    assert float(lines[1]["difference_low"]) == second.difference.estimate.low
    assert (
        lines[1]["run"],
        lines[1]["task"],
        lines[1]["metric"],
        lines[1]["method"],
        lines[1]["reference"],
    ) == (
        "my_run",
        "localization",
        "iou",
        "rollout",
        "agcam",
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "\t=1+1", "＝1+1"])
def test_no_name_is_a_formula_in_a_spreadsheet(tmp_path, name):
    run = write_run(tmp_path / name, rows_of(methods=("agcam", f"{name}x")), images=40)
    runs = read_runs([run])
    lines = list(csv.DictReader(io.StringIO(as_csv(score_tables(runs)))))
    assert {line["run"] for line in lines} == {f"'{name}"}
    assert {line["method"] for line in lines} == {"agcam", f"'{name}x"}
    assert any(line["difference"].startswith("-0.") for line in lines)  # numbers stay as they are


def test_no_reference_is_a_formula_in_a_spreadsheet(tmp_path):
    runs = read_runs([write_run(tmp_path / "run", rows_of(methods=("agcam", "=1+1")), images=40)])
    lines = list(csv.DictReader(io.StringIO(as_csv(score_tables(runs, reference="=1+1")))))
    assert {line["reference"] for line in lines} == {"", "'=1+1"}
    assert any(line["difference"].startswith("0.") for line in lines)
    assert all(not value.startswith("=") for line in lines for value in line.values())


def test_markdown_tables_are_rectangular_and_escaped(runs, tmp_path):
    rows = rows_of(methods=("agcam", "random", "a|b*c_d<e>"))
    other = read_runs([write_run(tmp_path / "o", rows)])
    text = as_markdown(score_tables(other), other)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    compared = [line.replace("\\|", "").count("|") for line in lines]
    assert compared == [5] * 5 + [7] * 5 * 3  # all means, then each measure
    assert r"a\|b\*c\_d\<e\>" in text
    assert "| **0.7" in text
    assert as_markdown(score_tables(runs), runs).startswith(
        "> my\\_run: The localization task has done 30 of 40"
    )


def test_all_means_stand_first_side_by_side(runs, tmp_path):
    """As in a paper: methods by measures; not for one measure alone, and a run without them has no row."""
    rows = rows_of("perturbation", methods=("agcam", "random"))
    for each in rows:
        each |= {f"measure{i}": 0.25 for i in range(10)}
    several = [*runs, *read_runs([write_run(tmp_path / "two", [*rows_of(), *rows], task="all")])]
    grids = as_grids(score_tables(several), several_runs=True)
    assert [grid.title for grid in grids if grid.task == "localization"] == [
        "Means",
        "Runs side by side",
        "IoU",
        "Pixel accuracy",
        "MaxBoxAcc",
    ]
    overviews = [grid for grid in grids if grid.title.startswith("Means")]
    assert [(grid.task, grid.title, len(grid.titles)) for grid in overviews] == [
        ("localization", "Means", 2 + 3),
        ("perturbation", "Means (1 of 3)", 2 + 5),
        ("perturbation", "Means (2 of 3)", 2 + 5),
        ("perturbation", "Means (3 of 3)", 2 + 3),
    ]
    assert [tuple(cell.text for cell in row.cells[:2]) for row in overviews[1].rows] == [
        ("two", "agcam"),
        ("two", "random"),
    ]
    iou = next(grid for grid in grids if grid.key == "iou")
    assert [row.cells[2] for row in overviews[0].rows] == [row.cells[2] for row in iou.rows]
    assert [grid.title for grid in as_grids(score_tables(runs, metrics=["iou"]), False)] == ["IoU"]


def test_latex_is_escaped(tmp_path):
    rows = rows_of(methods=("agcam", "random", "50%_of & #1 {x} ^~\\"))
    runs = read_runs([write_run(tmp_path / "run", rows)])
    text = as_latex(score_tables(runs, metrics=["iou"]), runs)
    assert r"50\%\_of \& \#1 \{x\} \textasciicircum{}\textasciitilde{}\textbackslash{}" in text
    assert r"\textbf{0.7" in text
    assert r"IoU $\uparrow$" in text
    assert r"\label{tab:localization-iou}" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {5}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(runs, tmp_path):
    head = "\\documentclass{article}\\usepackage{booktabs}\\usepackage[utf8]{inputenc}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{head}{as_latex(score_tables(runs), runs)}\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_several_runs_have_their_names_first(tmp_path):
    runs = read_runs([write_run(tmp_path / name, rows_of()) for name in ("deit", "dino")])
    text = as_markdown(score_tables(runs, metrics=["iou"]), runs)
    assert "| Run | Method |" in text
    assert "| dino | agcam | **0.7" in text


def test_a_hostile_class_name_does_not_reach_the_tables(tmp_path):
    runs = read_runs([write_run(tmp_path / "run", rows_of(class_names=[HOSTILE] * 3))])
    assert "script" not in as_markdown(score_tables(runs), runs)


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.12345, "−0.123"), (-0.0001, "0.000"), (1.0, "1.000")]
)
def test_plain(value, text):
    assert plain(value) == text


def test_signed():
    assert [signed(value) for value in (0.1, -0.1, 0.0, -0.0002)] == ["+0.100", "−0.100", "0.000", "0.000"]
    assert [p_value(p) for p in (0.0005, 0.001, 0.5)] == ["< 0.001", "0.001", "0.500"]

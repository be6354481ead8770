"""Figures that stand on several pages are the same ones: those of the measured tables."""

from __future__ import annotations

import re
import sys
from itertools import dropwhile, takewhile

import pytest
from doc_pages import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))

from bench_tables import PAGES, in_full, keep, overview, read_results, with_tables

README = (REPOSITORY / "README.md").read_text()
EVALUATION = (REPOSITORY / "docs" / "evaluation.md").read_text()
BENCHMARKS = (REPOSITORY / "docs" / "benchmarks.md").read_text()


def table(text, title):
    """The first table behind a title: from the first cell of each row to the others."""
    lines = text[text.index(title) :].splitlines()
    rows = takewhile(
        lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines)
    )
    cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in [*rows][2:]]
    return {name: others for name, *others in cells}


def test_the_scores_of_the_readme_are_the_measured_ones():
    measured = table(EVALUATION, "[start:perturbation]")
    shown = table(README, "What came out")
    assert {"agcam", "random", "center"} <= set(shown)
    assert shown == {name: measured[name][:1] for name in shown}


@pytest.mark.parametrize("page", list(PAGES))
def test_the_tables_of_costs_are_what_the_script_makes_of_the_files(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert with_tables(text, PAGES[page](read_results())) == text, "run python tools/bench_tables.py"


@pytest.mark.parametrize("batch", [1, 8])
def test_the_kept_ratios_are_those_of_the_full_tables(batch):
    """Of the processor whose benchmark stands there in full."""
    (kept,) = (each for each in read_results() if each["model"].startswith("family 26"))
    for part in ("Methods", "Compare"):
        for name, cells in table(BENCHMARKS, f"### {part}, batch {batch}, fp32").items():
            numbers = kept["rows"].get(name)
            if numbers and (part == "Methods" or name.startswith("compare")):
                said = float(cells[1].partition("×")[0])
                assert numbers[str(batch)]["own"] == pytest.approx(said, rel=0.005, abs=0.0051)


def test_a_benchmark_is_kept_and_rows_that_were_not_measured_again_stay():
    row = {"ratio": 1.2345, "fastest_ratio": 1.5, "images": 8, "targets": []}
    bf16 = {**row, "name": "agcam, bf16", "targets": [{"what": "time", "value": 1.1}]}
    machine = {"cpu": "A", "model": "m", "instruction_sets": [], "torch_uses": "AVX2", "threads": 2}
    bench = {
        "vitcam": "1",
        "machine": {**machine, "torch": "2", "libraries": {"timm": "3"}, "date": "2026-11-29T01:00:00"},
        "settings": {"repeats": 3, "model": "timm:x", "precision": "fp32"},
        "groups": [{"rows": [{**row, "name": "agcam"}, bf16, {**row, "name": "forward", "ratio": None}]}],
    }
    before = {"note": "A note.", "rows": {"lrp": {"1": {"own": 8.0}}, "agcam": {"1": {"own": 1.0}}}}
    kept = keep(bench, before)
    assert kept["rows"] == {
        "lrp": {"1": {"own": 8.0}},
        "agcam": {"1": {"own": 1.0}, "8": {"own": 1.234, "fastest": 1.5}},
        "agcam, bf16": {"8": {"own": 1.234, "fastest": 1.5, "own bf16": 1.1}},
    }
    made = in_full([kept])
    assert (
        "**A** (m), torch uses AVX2; 2 threads; vitcam 1, torch 2, timm 3; 2026-11-29, medians of 3" in made
    )
    assert "| `agcam` | 1.00 | – | 1.23 | 1.50 |" in made
    assert "| `agcam` | 1.00 / – | 1.23 / 1.50 |" in overview([kept])
    assert "of the model's own bf16 pass | – | 1.10 |" in overview([kept])


@pytest.mark.parametrize("page", ["README.md", "docs/agcam.md"])
def test_what_agcam_itself_costs(page):
    text = " ".join((REPOSITORY / page).read_text().split())
    for batch in (1, 8):
        methods = table(BENCHMARKS, f"### Methods, batch {batch}, fp32")
        own, bare = (milliseconds(methods[name][0]) for name in ("agcam", "forward, oneDNN"))
        (said,) = re.findall(
            rf"(\d\.\d\d) (?:times (?:as long as the forward pass )?at |\()batch {batch}\b", text
        )
        assert float(said) == pytest.approx(own / bare, abs=0.01)


def milliseconds(cell):
    number, unit = cell.split()[:2]
    return float(number) * {"ms": 1, "s": 1000}[unit]


def test_other_libraries_cost_what_was_measured():
    ratios = {
        cells[1].partition("×")[0]
        for part in BENCHMARKS.split("### Peers on ")[1:]
        for cells in table(f"### {part}", "###").values()
    }
    shown = table(README, "The same method in both")
    assert {cell.partition(" (")[0] for cells in shown.values() for cell in cells} <= ratios

"""Figures that stand on several pages are the same ones: those of the measured tables."""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile

import pytest
from doc_pages import REPOSITORY

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
    assert table(README, "What came out") == {name: cells[:2] for name, cells in measured.items()}


@pytest.mark.parametrize("batch", [1, 8])
def test_the_costs_of_the_readme_are_the_measured_ones(batch):
    methods, compared = (
        table(BENCHMARKS, f"### {part}, batch {batch}, fp32") for part in ("Methods", "Compare")
    )
    measured = {**methods, "agcam, five classes per image": methods["agcam, 5 classes"]}
    measured["compare of agcam, rollout, gae, gradsam and gradcam"] = compared["compare, all five"]
    shown = table(README, "## What it costs")
    ratios = {name: measured[name][1].partition("×")[0] for name in shown}
    assert ratios == {name: cells[batch > 1] for name, cells in shown.items()}


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

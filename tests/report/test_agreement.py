"""How measures agree on methods, against rank correlations written out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from report_runs import row, write_run

from vitcam.report import as_json, read_runs, report_page, score_tables
from vitcam.report.agreement import agreements, chance, rank_correlation


def naive_spearman(first, second):
    """Pearson's correlation of mean ranks, each found by counting."""

    def ranks(numbers):
        return [
            1 + sum(other < own for other in numbers) + (sum(other == own for other in numbers) - 1) / 2
            for own in numbers
        ]

    return np.corrcoef(ranks(first), ranks(second))[0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlation_with_ties(seed):
    first, second = np.random.default_rng(seed).integers(0, 5, (2, 9)).tolist()
    assert rank_correlation(first, second) == pytest.approx(naive_spearman(first, second), abs=1e-12)


def test_one_number_for_all_has_no_order():
    assert np.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize("methods", [3, 4, 5, 6])
def test_chance_counts_every_order(methods):
    """The smallest |ρ| that at most one order in twenty reaches."""
    rho = [abs(naive_spearman(range(methods), order)) for order in permutations(range(methods))]
    rare = [value for value in set(np.round(rho, 9)) if np.mean(np.array(rho) >= value - 1e-9) <= 0.05]
    assert chance(methods) == (pytest.approx(min(rare), abs=1e-8) if rare else None)


def test_chance_for_many_methods_is_near_the_published_one():
    assert chance(11) == pytest.approx(0.618, abs=0.02)  # two-sided 5 %, e.g. Ramsey 1989


METHODS = {"agcam": 0.8, "rollout": 0.3, "gae": 0.6, "lrp": 0.5, "legrad": 0.1}


def a_run(folder, methods):
    """IoU and precision agree, Dice says the opposite; of "energy" nobody knows the direction."""
    rows = []
    for i in range(6):
        for method, level in methods.items():
            numbers = {"precision": level / 2, "dice": 1 - level, "own": level}
            rows.append(row("localization", f"{i}.jpg", method, level, **numbers))
            # MoRF is better the lower: it falls as ABPC rises
            rows.append(row("perturbation", f"{i}.jpg", method, level))
    return write_run(folder, rows, task="all", images=6, methods=list(methods))


def test_directions_count_and_controls_do_not(tmp_path):
    runs = read_runs([a_run(tmp_path / "run", {**METHODS, "random": 0.9, "center": 0.2})])
    (found,) = agreements(score_tables(runs))
    assert found.methods == tuple(METHODS)
    keys = [measure.key for _, measure in found.measures]
    assert "own" not in keys
    table = {(a, b): found.correlations[i, j] for i, a in enumerate(keys) for j, b in enumerate(keys)}
    assert table["iou", "precision"] == 1
    assert table["iou", "dice"] == -1
    assert table["iou", "auc_morf"] == 1
    assert table["abpc", "auc_morf"] == 1
    assert found.chance == 1
    least, most = found.extremes
    assert (least[2], most[2]) == (-1, 1)


def test_the_page_says_on_how_few_methods_it_rests(tmp_path):
    four = {name: METHODS[name] for name in list(METHODS)[:4]}
    runs = read_runs([a_run(tmp_path / "run", {**four, "random": 0.9})])
    page = report_page(runs, score_tables(runs))
    assert "It rests on 4 methods alone (agcam, rollout, gae, lrp), without controls" in page
    assert "With so few, no correlation can be told from chance." in page
    assert 'class="less pale"' in page
    five = read_runs([a_run(tmp_path / "five", METHODS)])
    assert "Chance alone reaches ±1.00 or more in at most 5 % of all orders" in report_page(
        five, score_tables(five)
    )


def test_two_methods_have_no_order_to_agree_on(tmp_path):
    runs = read_runs([a_run(tmp_path / "run", {"agcam": 0.5, "gae": 0.4, "random": 0.1, "center": 0.2})])
    tables = score_tables(runs)
    assert agreements(tables) == []
    assert "How measures agree" not in report_page(runs, tables)
    assert as_json(tables, runs)["agreement"] == []


def test_a_measure_without_spread_is_a_dash_and_null(tmp_path):
    folder = a_run(tmp_path / "run", METHODS)
    runs = read_runs([folder])
    tables = score_tables(runs)
    (found,) = agreements(tables)
    flat = [table for table in tables if table.measure.key != "dice"]
    assert len(agreements(flat)[0].measures) == len(found.measures) - 1
    rows = [
        row("localization", f"{i}.jpg", method, level, dice=0.5)
        for i in range(6)
        for method, level in METHODS.items()
    ]
    runs = read_runs([write_run(tmp_path / "flat", rows, images=6, methods=list(METHODS))])
    tables = score_tables(runs)
    matrix = as_json(tables, runs)["agreement"][0]
    place = matrix["measures"].index("dice")
    assert set(matrix["correlations"][place]) == {None}
    assert '<td class="none">–</td>' in report_page(runs, tables)

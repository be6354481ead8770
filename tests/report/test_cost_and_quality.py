"""Methods between cost and quality, runs beside each other, and a report for machines."""

from __future__ import annotations

import json
import re

import pytest
from report_runs import HOSTILE, rows_of, write_run
from typer.testing import CliRunner

from vitcam.cli.program import program
from vitcam.report import ReportError, as_latex, as_markdown, read_runs, report_page, score_tables
from vitcam.report.listing import as_grids, side_by_side
from vitcam.report.plane import planes, round_numbers, unbeaten

COSTS = {"agcam": [10.0, 30.0, 12.0], "rollout": [9.0, 9.5, 9.0], "random": [8.0, 8.0, 8.0]}


def with_costs(folder, samples=COSTS, **changes):
    costs = {"batch_size": 8, "precision": "fp32", "device": "cpu", "threads": 2, "ms_per_map": samples}
    (folder / "costs.json").write_text(json.dumps(costs | changes))
    return folder


def table_of(runs, key="iou"):
    return next(table for table in score_tables(runs) if table.measure.key == key)


def test_the_plane_has_medians_and_means(tmp_path):
    runs = read_runs([with_costs(write_run(tmp_path / "run", rows_of()))])
    table = table_of(runs)
    (plane,) = planes(table, runs)
    means = {row.method: row.estimate for row in table.rows}
    assert [(point.method, point.milliseconds) for point in plane.points] == [
        ("random", 8.0),
        ("rollout", 9.0),
        ("agcam", 12.0),
    ]
    assert all(point.estimate == means[point.method] for point in plane.points)
    assert [point.x for point in plane.points] == sorted(point.x for point in plane.points)
    by_quality = sorted(plane.points, key=lambda point: point.estimate.mean)
    assert [point.y for point in by_quality] == sorted((p.y for p in by_quality), reverse=True)
    assert all(point.high < point.y < point.low for point in plane.points)
    # a control isn't a rival: what is cheapest of the others can't be beaten by it
    assert {point.method for point in plane.points if point.unbeaten} == {"agcam", "rollout"}
    page = report_page(runs, score_tables(runs))
    assert "the forward pass included: on cpu with 2 threads, fp32, batches of 8" in page
    assert "the median of 3 rounds in turns" in page


def test_where_less_is_better_the_lower_is_unbeaten(tmp_path):
    samples = {"agcam": [5.0], "rollout": [6.0], "random": [1.0]}
    runs = read_runs([with_costs(write_run(tmp_path / "run", rows_of("perturbation")), samples)])
    (plane,) = planes(table_of(runs, "auc_morf"), runs)
    assert {point.method for point in plane.points if point.unbeaten} == {"agcam"}
    assert "in one round, whose times are rough" in plane.note


def test_names_in_the_plane_do_not_cover_each_other(tmp_path):
    names = [f"captum:Method{i}" for i in range(8)]
    samples = {name: [10.0 + 0.01 * i] for i, name in enumerate(names)}
    runs = read_runs([with_costs(write_run(tmp_path / "run", rows_of(methods=names)), samples)])
    (plane,) = planes(table_of(runs), runs)
    places = [(point.label[0], point.label[1], point.label[2]) for point in plane.points]
    for i, (x, y, anchor) in enumerate(places):
        for other_x, other_y, other_anchor in places[:i]:
            assert abs(y - other_y) >= 12 or (anchor, x) != (other_anchor, other_x)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(3, 45, [2, 5, 10, 20, 50]), (7, 7, [5, 10]), (0.001, 900, [0.001, 0.01, 0.1, 1, 10, 100, 1000])],
)
def test_round_numbers(low, high, expected):
    assert round_numbers(low, high) == pytest.approx(expected)


def test_equals_are_both_unbeaten():
    assert unbeaten({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 1}) == {"a", "b"}


def test_a_run_without_costs_has_no_plane_and_a_damaged_file_is_named(tmp_path):
    folder = write_run(tmp_path / "run", rows_of())
    runs = read_runs([folder])
    assert planes(table_of(runs), runs) == []
    assert "Cost and quality" not in report_page(runs, score_tables(runs))
    for content in ("{", "[]", '{"ms_per_map": {"agcam": []}}', '{"ms_per_map": {"agcam": [-1]}}', "{}"):
        (folder / "costs.json").write_text(content)
        runs = read_runs([folder])
        with pytest.raises(ReportError, match=r"costs\.json is damaged .* Delete it; a report then says"):
            planes(table_of(runs), runs)


def test_costs_of_hostile_names_are_escaped(tmp_path):
    name = f"captum:{HOSTILE}"
    rows = rows_of(methods=("agcam", name))
    folder = with_costs(write_run(tmp_path / "run", rows), {"agcam": [1.0], name: [2.0]}, device=HOSTILE)
    runs = read_runs([folder])
    page = report_page(runs, score_tables(runs))
    assert HOSTILE not in page
    assert "<script" not in page


def two_runs(tmp_path):
    one = write_run(tmp_path / "deit", rows_of())
    two = write_run(tmp_path / "dino", rows_of(methods=("agcam", "gae", "random"), seed=4))
    return read_runs([one, two])


def test_runs_stand_side_by_side(tmp_path):
    runs = two_runs(tmp_path)
    tables = score_tables(runs)
    grid = side_by_side(tables)
    assert [row.cells[0].text for row in grid.rows] == ["agcam", "rollout", "random", "gae"]
    assert grid.groups == (
        ("IoU\N{NO-BREAK SPACE}↑", 2),
        ("Pixel accuracy\N{NO-BREAK SPACE}↑", 2),
        ("MaxBoxAcc\N{NO-BREAK SPACE}↑", 2),
    )
    iou = {(row.run, row.method): f"{row.estimate.mean:.3f}" for row in table_of(runs).rows}
    for row in grid.rows:
        method = row.cells[0].text
        assert [cell.text for cell in row.cells[1:3]] == [
            iou.get((run, method), "–") for run in ("deit", "dino")
        ]
    page = report_page(runs, tables)
    assert page.count('<th scope="colgroup" colspan="2"') == 3
    assert "| Method | IoU\N{NO-BREAK SPACE}↑, deit | IoU\N{NO-BREAK SPACE}↑, dino |".replace(
        "\N{NO-BREAK SPACE}", " "
    ) in as_markdown(tables, runs)
    assert side_by_side(score_tables(runs[:1])) is None


def test_latex_marks_the_best_and_the_second_without_controls(tmp_path):
    levels = {"agcam": 0.5, "gae": 0.7, "rollout": 0.3, "random": 0.9}
    rows = [each for each in rows_of(methods=tuple(levels)) if each["correct"]]
    for each in rows:
        each["iou"] = levels[each["method"]]
    runs = read_runs([write_run(tmp_path / "run", rows)])
    means = as_latex(score_tables(runs), runs).partition(r"\end{table}")[0]
    assert r"\textbf{0.700}" in means
    assert r"\underline{0.500}" in means
    order = re.findall(r"^    (\w+) & |^    \\(midrule)", means, re.MULTILINE)
    assert [a or b for a, b in order][1:] == ["midrule", "agcam", "rollout", "gae", "midrule", "random"]
    assert "0.900" in means
    assert "{0.900}" not in means
    assert r"IoU $\uparrow$" in means
    # interval: of numbers that are all alike it has no width
    assert r"\textbf{0.700} {\scriptsize $\pm$ 0.000}" in as_latex(score_tables(runs), runs, intervals=True)


def test_latex_groups_runs_below_measures(tmp_path):
    runs = two_runs(tmp_path)
    text = as_latex(score_tables(runs), runs)
    assert r"& \multicolumn{2}{c}{IoU $\uparrow$} & \multicolumn{2}{c}" in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in text
    assert r"Method & deit & dino & deit & dino" in text


def test_json_for_machines(tmp_path):
    folder = with_costs(write_run(tmp_path / "run", rows_of()))
    result = CliRunner().invoke(program, ["report", str(folder), "--json", "--no-html"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (run,) = read_runs([folder])
    table = table_of([run])
    assert found["runs"][0]["costs"]["ms_per_map"] == COSTS
    assert found["runs"][0]["counts"]["localization"]["images"] == run.counts("localization")["images"]
    assert found["tables"][0]["measure"] == "iou"
    for row, expected in zip(found["tables"][0]["rows"], table.rows, strict=True):
        assert row["mean"] == expected.estimate.mean
        assert row["interval"] == [expected.estimate.low, expected.estimate.high]
    assert found["tables"][0]["rows"][0]["difference"] is None
    assert found["tables"][0]["rows"][1]["difference"]["p_holm"] == table.rows[1].difference.p_holm
    assert [grid.title for grid in as_grids([table], False)] == ["IoU"]

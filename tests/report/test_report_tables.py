"""Means, intervals, paired differences: against naive arithmetic and the run's own summary."""

import itertools

import numpy as np
import pytest
import torch
from report_runs import METHODS, row, rows_of, write_run

from vitcam.evaluation.metrics.max_box_accuracy import max_box_accuracy, max_box_accuracy_v2
from vitcam.evaluation.metrics.pixel_precision import pooled_average_precision
from vitcam.evaluation.statistics import bootstrap_interval, paired_difference
from vitcam.evaluation.summary import summarize
from vitcam.report import ReportError, read_runs, score_tables
from vitcam.report.curves import mean_curves
from vitcam.report.scores import read_scores
from vitcam.report.tables import holm


def tables_of(folder, rows, **options):
    return {t.measure.key: t for t in score_tables(read_runs([write_run(folder, rows)]), **options)}


def by_method(table):
    return {row.method: row for row in table.rows}


def test_means_and_intervals_are_those_of_the_summary(tmp_path):
    rows = rows_of()
    tables = tables_of(tmp_path / "run", rows)
    (run,) = read_runs([tmp_path / "run"])
    summary = summarize(run.stored, ["localization"], METHODS, 4, 0)["localization"]
    for key in ("iou", "pixel_accuracy"):
        for method, found in by_method(tables[key]).items():
            assert found.estimate.images == 24
            assert found.estimate.mean == pytest.approx(summary[method][key], abs=1e-12)
            assert [found.estimate.low, found.estimate.high] == pytest.approx(
                summary[method]["intervals"][key], abs=1e-12
            )
    assert tables["max_box_accuracy"].rows[0].estimate.mean == pytest.approx(
        summary["agcam"]["max_box_accuracy"]
    )


def test_differences_are_the_method_minus_the_reference_on_the_same_images(tmp_path):
    rows = rows_of()
    values = {m: np.array([r["iou"] for r in rows if r["method"] == m and r["correct"]]) for m in METHODS}
    table = by_method(tables_of(tmp_path / "run", rows)["iou"])
    assert table["agcam"].difference is None
    for method in ("rollout", "random"):
        paired = table[method].difference
        assert paired.estimate.mean == pytest.approx((values[method] - values["agcam"]).mean())
        assert paired.estimate.low < paired.estimate.mean < paired.estimate.high < 0
        assert paired.p == pytest.approx(1 / 2001)
        assert paired.p_holm == pytest.approx(2 / 2001)


def test_classes_of_one_photograph_are_drawn_together(tmp_path):
    """Photographs are what is drawn, in the summary, in the tables and in the curves."""
    random = np.random.default_rng(2)
    rows, every = [], {method: [] for method in METHODS}
    for i, difficulty in enumerate(random.random(12)):
        for method in METHODS:
            for target in range(1 + i % 3):
                value = float(difficulty + 0.05 * random.random())
                every[method].append((i, value))
                rows.append(row("perturbation", f"{i:02d}.jpg", method, value, target=target))
    tables = tables_of(tmp_path / "run", rows)
    (run,) = read_runs([tmp_path / "run"])
    summary = summarize(run.stored, ["perturbation"], METHODS, 0, 0)["perturbation"]
    curves = mean_curves(run, "perturbation", "lerf", "fractions")
    for method, found in by_method(tables["abpc"]).items():
        images, values = map(np.array, zip(*every[method], strict=True))
        expected = bootstrap_interval(values, images)
        assert found.estimate.images == 12
        assert found.estimate.mean == pytest.approx(values.mean())
        for low, high in (
            (found.estimate.low, found.estimate.high),
            summary[method]["intervals"]["abpc"],
            (2 * curves[method].low[1] - 1, 2 * curves[method].high[1] - 1),
        ):
            assert (low, high) == pytest.approx((float(expected.low), float(expected.high)))
    one, other = (np.array([value for _, value in every[name]]) for name in ("rollout", "agcam"))
    difference = by_method(tables["abpc"])["rollout"].difference
    assert difference.p == float(paired_difference(one, other, images).p_value)
    assert difference.estimate.images == 12


def test_another_reference(tmp_path):
    table = by_method(tables_of(tmp_path / "run", rows_of(), reference="random")["iou"])
    assert table["agcam"].difference.estimate.mean > 0
    with pytest.raises(ReportError, match=r"no run has the method 'lrp'.*There are: agcam, rollout, random"):
        tables_of(tmp_path / "other", rows_of(), reference="lrp")


def test_without_the_reference_nothing_is_compared(tmp_path):
    table = tables_of(tmp_path / "run", rows_of(methods=("rollout", "random")))["iou"]
    assert [row.difference for row in table.rows] == [None, None]


def made(values_by_method):
    """Perturbation rows with these ABPCs."""
    return [
        row("perturbation", f"{i}", method, float(value))
        for method, values in values_by_method.items()
        for i, value in enumerate(values)
    ]


def test_the_best_alone_leads_when_it_is_clear(tmp_path):
    tables = tables_of(tmp_path / "run", rows_of())
    assert [row.leads for row in tables["iou"].rows] == [True, False, False]


def test_what_cannot_be_told_from_the_best_leads_too(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 40))
    rows = made({"agcam": 0.5 + noise[0], "rollout": 0.5 + noise[1], "random": 0.1 + noise[0]})
    assert [row.leads for row in tables_of(tmp_path / "run", rows)["abpc"].rows] == [True, True, False]
    # paired: a small difference that every image shows is told, though the intervals of the means overlap
    spread = np.linspace(0.1, 0.9, 40)
    table = tables_of(tmp_path / "paired", made({"agcam": spread, "rollout": spread + 0.01 + noise[0] / 50}))[
        "abpc"
    ]
    first, second = table.rows
    assert first.estimate.high > second.estimate.mean
    assert [first.leads, second.leads] == [False, True]


def test_nothing_leads_where_all_are_alike_or_alone(tmp_path):
    same = np.linspace(0, 1, 10)
    assert not any(
        row.leads for row in tables_of(tmp_path / "a", made({"agcam": same, "rollout": same}))["abpc"].rows
    )
    assert not tables_of(tmp_path / "b", made({"agcam": same}))["abpc"].rows[0].leads


def test_less_is_better_for_morf(tmp_path):
    tables = tables_of(tmp_path / "run", rows_of("perturbation"))
    assert [row.leads for row in tables["auc_morf"].rows] == [True, False, False]
    assert by_method(tables["auc_morf"])["random"].difference.estimate.mean > 0


def test_numbers_that_only_some_images_have(tmp_path):
    rows = rows_of()
    masked = {"agcam": [], "rollout": []}
    for i, each in enumerate(rows):
        each["mask_iou"] = None
        if each["correct"] and i % 2 and each["method"] in masked:
            each["mask_iou"] = i / 100
            masked[each["method"]].append((each["image"], i / 100))
    table = by_method(tables_of(tmp_path / "run", rows)["mask_iou"])
    assert set(table) == {"agcam", "rollout"}  # random has none
    assert table["agcam"].estimate.mean == pytest.approx(np.mean([value for _, value in masked["agcam"]]))
    shared = set(dict(masked["agcam"])) & set(dict(masked["rollout"]))
    assert (table["rollout"].difference is None) == (not shared)
    if shared:
        assert table["rollout"].difference.estimate.images == len(shared)


def test_nans_count_as_missing(tmp_path):
    rows = made({"agcam": [0.1, float("nan"), 0.3], "rollout": [0.1, 0.2, 0.3]})
    table = by_method(tables_of(tmp_path / "run", rows)["abpc"])
    assert table["agcam"].estimate.images == 2
    assert table["rollout"].estimate.images == 3
    assert table["rollout"].difference.estimate.images == 2


def test_an_unknown_column_is_shown_without_a_best(tmp_path):
    rows = [each | {"novel": each["iou"]} for each in rows_of()]
    table = tables_of(tmp_path / "run", rows)["novel"]
    assert table.measure.title == "novel"
    assert not any(row.leads for row in table.rows)


def test_max_box_accuracy_is_that_of_the_metric(tmp_path):
    curves = torch.rand(40, 4, generator=torch.manual_seed(0), dtype=torch.float64)
    rows = [
        row("localization", f"{i}", "agcam", 0.5, largest_box_iou_curve=curve, best_box_iou_curve=curve)
        for i, curve in enumerate(curves.tolist())
    ]
    tables = tables_of(tmp_path / "run", rows)
    assert tables["max_box_accuracy"].rows[0].estimate.mean == pytest.approx(max_box_accuracy(curves))
    assert tables["max_box_accuracy_v2"].rows[0].estimate.mean == pytest.approx(max_box_accuracy_v2(curves))


def pixel_rows(images=40, thresholds=5, methods=METHODS[:2], seed=0):
    """Counts of pixels at descending thresholds, of objects of many sizes: by method, and as rows."""
    generator, rows, counts = torch.manual_seed(seed), [], {}
    for method in methods:
        hits, others = (
            torch.randint(0, 9, (images, thresholds), generator=generator).cumsum(1) for _ in range(2)
        )
        hits *= torch.randint(0, 4, (images, 1), generator=generator)  # and some images have no object at all
        counts[method] = hits, hits + others
    for i in range(images):
        for method, (hits, predicted) in counts.items():
            curves = {"pixel_hits_curve": hits[i], "pixel_predicted_curve": predicted[i]}
            own = {name: curve.double().tolist() for name, curve in curves.items()}
            rows.append(row("localization", f"{i:03d}", method, 0.5, **own))
    return counts, rows


def shares(hits, predicted):
    """What each image adds to PxAP, at the precision that all images together have, in plain arithmetic."""
    precision = [sum(column) / max(1, sum(all)) for column, all in zip(hits.T, predicted.T, strict=True)]
    mean_truth = sum(hits[:, -1]) / len(hits)
    gained = [[own[0], *(b - a for a, b in itertools.pairwise(own))] for own in hits]
    return np.array(
        [sum(p * g for p, g in zip(precision, each, strict=True)) / mean_truth for each in gained]
    )


def test_pxap_is_that_of_the_metric(tmp_path):
    counts, rows = pixel_rows()
    table = tables_of(tmp_path / "run", rows)["pxap"]
    (run,) = read_runs([tmp_path / "run"])
    summary = summarize(run.stored, ["localization"], METHODS, 0, 0)["localization"]
    scores = read_scores(run, "localization", ["pxap"])
    own = {method: shares(*(count.double().numpy() for count in counts[method])) for method in counts}
    for i, (method, found) in enumerate(by_method(table).items()):
        expected = pooled_average_precision(*counts[method])
        assert found.estimate.mean == pytest.approx(expected, abs=1e-12)
        assert summary[method]["pxap"] == pytest.approx(expected, abs=1e-12)
        assert "pxap" not in summary[method]["intervals"]
        assert scores.numbers["pxap"][:, i] == pytest.approx(own[method], abs=1e-12)
        interval = bootstrap_interval(own[method])
        assert [found.estimate.low, found.estimate.high] == pytest.approx(
            [float(interval.low), float(interval.high)]
        )
    difference, found = (
        paired_difference(own["rollout"], own["agcam"]),
        by_method(table)["rollout"].difference,
    )
    assert found.estimate.mean == pytest.approx(float(difference.interval.mean))
    assert found.p == pytest.approx(float(difference.p_value))


def test_images_without_both_curves_have_no_share_in_pxap(tmp_path):
    counts, rows = pixel_rows(methods=("agcam",))
    rows[3]["pixel_hits_curve"] = None
    rows[7]["pixel_predicted_curve"][2] = float("nan")
    table = tables_of(tmp_path / "run", rows)["pxap"]
    left = [i for i in range(40) if i not in (3, 7)]
    expected = pooled_average_precision(*(count[left] for count in counts["agcam"]))
    assert (table.rows[0].estimate.images, table.rows[0].estimate.mean) == (38, pytest.approx(expected))
    (run,) = read_runs([tmp_path / "run"])
    shown = read_scores(run, "localization", ["pxap"]).numbers["pxap"][:, 0]
    assert np.flatnonzero(np.isnan(shown)).tolist() == [3, 7]


def test_without_any_object_there_is_no_pxap(tmp_path):
    _, rows = pixel_rows(methods=("agcam",))
    for each in rows:
        each["pixel_hits_curve"] = [0.0] * 5
    assert "pxap" not in tables_of(tmp_path / "run", rows)
    (run,) = read_runs([tmp_path / "run"])
    assert "pxap" not in summarize(run.stored, ["localization"], ("agcam",), 0, 0)["localization"]["agcam"]


def test_pixel_curves_of_two_lengths_are_refused(tmp_path):
    _, rows = pixel_rows()
    for each in rows:
        each["pixel_hits_curve"] = each["pixel_hits_curve"][:3]
    with pytest.raises(
        ReportError, match="the curves in pixel_hits_curve and pixel_predicted_curve have 3, 5 points"
    ):
        tables_of(tmp_path / "run", rows)


def test_several_runs_stand_in_one_table_and_are_compared_within(tmp_path):
    folders = [write_run(tmp_path / "deit", rows_of()), write_run(tmp_path / "dino", rows_of("perturbation"))]
    tables = score_tables(read_runs([*folders, write_run(tmp_path / "third", rows_of(seed=1))]))
    iou = next(table for table in tables if table.measure.key == "iou")
    assert [row.run for row in iou.rows] == ["deit"] * 3 + ["third"] * 3
    assert [row.leads for row in iou.rows] == [True, False, False] * 2
    assert {row.run for table in tables if table.task == "perturbation" for row in table.rows} == {"dino"}


def test_unknown_metric(tmp_path):
    with pytest.raises(ReportError, match=r"no run has the metric 'iuo'\. There are: iou, pixel_accuracy"):
        tables_of(tmp_path / "run", rows_of(), metrics=["iuo"])
    assert list(tables_of(tmp_path / "other", rows_of(), metrics=["iou"])) == ["iou"]


def test_all_images_predicted_wrong(tmp_path):
    rows = [row("localization", str(i), "agcam", 0.5, correct=False) for i in range(3)]
    with pytest.raises(ReportError, match="no image was scored"):
        tables_of(tmp_path / "run", rows)


def test_holm_against_its_definition():
    p = [0.01, 0.04, 0.03, 0.005]
    # sorted: .005·4, .01·3, .03·2, .04·1, none below the one before it
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mean_curves(tmp_path):
    rows = rows_of()
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    curve = mean_curves(run, "localization", "iou_curve", "thresholds")["rollout"]
    naive = np.mean(
        [each["iou_curve"] for each in rows if each["method"] == "rollout" and each["correct"]], axis=0
    )
    assert curve.mean == pytest.approx(naive)
    assert curve.x.tolist() == run.settings["thresholds"]
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()
    assert mean_curves(run, "localization", "mask_iou_curve", "thresholds") == {}


def test_curves_of_other_lengths_lie_between_the_ends(tmp_path):
    rows = [row("perturbation", str(i), "agcam", 0.3, road_morf=[0.9] * 9) for i in range(3)]
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    curve = mean_curves(run, "perturbation", "road_morf", "fractions")["agcam"]
    assert curve.x == pytest.approx(np.arange(1, 10) / 10)


def test_curves_of_different_lengths_are_refused(tmp_path):
    rows = [row("localization", str(i), "agcam", 0.3, iou_curve=[0.1] * (2 + i)) for i in range(2)]
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    with pytest.raises(ReportError, match="the curves in iou_curve have 2, 3 points"):
        mean_curves(run, "localization", "iou_curve", "thresholds")


def test_scores_are_by_image_and_target(tmp_path):
    rows = [
        row("perturbation", "a", m, v, target=t)
        for m, v, t in (("agcam", 0.1, 0), ("agcam", 0.2, 1), ("rollout", 0.3, 1))
    ]
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    scores = read_scores(run, "perturbation")
    assert scores.units["target"].to_list() == [0, 1]
    assert scores.numbers["abpc"] == pytest.approx(np.array([[0.1, np.nan], [0.2, 0.3]]), nan_ok=True)

"""Numbers added up by image or by random group, a bounded number of images at a time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from test_parts import KNOWN

from vitcam.evaluation import stored_rows, sums
from vitcam.evaluation.statistics import bootstrap_interval
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.summary import summarize
from vitcam.evaluation.sums import sum_up, unit_of_images

METHODS = ("agcam", "center")


@pytest.fixture
def stored(tmp_path):
    """300 images in five files, with a number, a curve, a number that only every third image has, and two targets of
    every tenth image.
    """
    random = np.random.default_rng(0)
    rows = []
    for i in range(300):
        for method in METHODS:
            for target in range(1 + (i % 10 == 0)):
                value = float(random.random()) + (0.2 if method == "agcam" else 0)
                known = ("perturbation", f"{i:04d}", method, target, "cat", target, target, True, None)
                numbers = {"abpc": value, "morf": [value, value / 2], "saco": value if i % 3 == 0 else None}
                rows.append(dict(zip(KNOWN, known, strict=True)) | numbers)
    schema = {"error": pl.String, "saco": pl.Float64}
    table = pl.DataFrame(rows, schema_overrides=schema)
    parts = []
    for i in range(5):
        part = tmp_path / f"part-{i:06d}-0123abcd.parquet"
        table.filter(pl.col("image").cast(pl.Int64) % 5 == i).write_parquet(part)
        parts.append(part)
    return table, StoredRows(tuple(parts))


def summary_of(parts):
    return summarize(StoredRows(parts), ["perturbation"], METHODS, 0, 0)["perturbation"]


def flat(summary):
    """All numbers in a row."""
    if isinstance(summary, dict):
        summary = summary.values()
    elif not isinstance(summary, list):
        return [summary]
    return [number for each in summary for number in flat(each)]


def test_summaries_do_not_depend_on_how_much_is_read_at_once(stored, monkeypatch):
    table, rows = stored
    at_once = summary_of(rows.parts)
    read = []
    merged = stored_rows.merged

    def counted(parts):
        found = merged(parts)
        read.append(found["image"].n_unique())
        return found

    monkeypatch.setattr(stored_rows, "merged", counted)
    monkeypatch.setattr(stored_rows, "IMAGES", 7)
    in_chunks = summary_of(rows.parts)
    assert flat(in_chunks) == pytest.approx(flat(at_once), abs=1e-12)
    assert max(read) == 7
    assert summary_of(rows.parts[::-1]) == in_chunks  # to the last digit, however the rows came
    for method in METHODS:
        own = table.filter(method=method)
        images = own["image"].rank("dense").to_numpy()
        expected = bootstrap_interval(own["abpc"].to_numpy(), images)
        assert at_once[method]["abpc"] == pytest.approx(own["abpc"].mean())
        assert at_once[method]["intervals"]["abpc"] == pytest.approx(
            [float(expected.low), float(expected.high)]
        )
        assert at_once[method]["morf"] == pytest.approx([own["abpc"].mean(), own["abpc"].mean() / 2])
        assert at_once[method]["saco"] == pytest.approx(own["saco"].mean())
        assert at_once[method]["images"] == 300


def test_very_many_images_are_drawn_in_groups(stored, monkeypatch):
    """Their means are exact, their intervals about as wide, and the memory is that of the groups."""
    _, rows = stored
    one_by_one = summary_of(rows.parts)
    monkeypatch.setattr(sums, "UNITS", 100)
    in_groups = summary_of(rows.parts)
    monkeypatch.setattr(stored_rows, "IMAGES", 7)
    assert flat(summary_of(rows.parts)) == pytest.approx(flat(in_groups), abs=1e-12)
    for method in METHODS:
        for key in ("abpc", "saco", "morf", "images"):
            assert in_groups[method][key] == pytest.approx(one_by_one[method][key], abs=1e-12)
        (low, high), (own_low, own_high) = (
            each[method]["intervals"]["abpc"] for each in (in_groups, one_by_one)
        )
        assert low < in_groups[method]["abpc"] < high
        assert (high - low) / (own_high - own_low) == pytest.approx(1, abs=0.25)
    found = sum_up(StoredRows(rows.parts), "perturbation", METHODS, curves={"morf"})
    assert found.numbers["abpc"].shape == (100, 2)
    assert found.curves["morf"].shape == (100, 2, 2)
    assert found.counts["abpc"].sum(axis=0).tolist() == [330, 330]
    assert found.distinct["abpc"].sum(axis=0).tolist() == [300, 300]
    assert (found.presence["abpc"][:, 0] == found.presence["abpc"][:, 1]).all()


def test_groups_are_random_equal_and_always_the_same(monkeypatch):
    assert unit_of_images(5).tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(sums, "UNITS", 10)
    groups = unit_of_images(1005)
    assert (groups == unit_of_images(1005)).all()
    assert set(np.bincount(groups).tolist()) == {100, 101}
    neighbours = np.bincount(groups[:100], minlength=10)  # of one class, say
    assert neighbours.max() < 30


def test_images_that_only_one_method_has_a_number_of_are_not_compared(stored, tmp_path):
    """Also where as many rows of a group have it, but not the same ones."""
    table, _ = stored
    one, other = "0003", "0005"
    lacking = ((pl.col("image") == one) & (pl.col("method") == "agcam")) | (
        (pl.col("image") == other) & (pl.col("method") == "center")
    )
    part = tmp_path / "part-000009-0123abcd.parquet"
    table.with_columns(pl.when(lacking).then(float("nan")).otherwise("abpc").alias("abpc")).write_parquet(
        part
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sums, "UNITS", 1)
        found = sum_up(StoredRows((part,)), "perturbation", METHODS)
    assert found.counts["abpc"].tolist() == [[329, 329]]
    assert found.presence["abpc"][0, 0] != found.presence["abpc"][0, 1]

"""Reports of very many images: the same tables, curves and examples, from groups of images."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from report_runs import rows_of, write_run

from vitcam.evaluation import stored_rows, sums
from vitcam.evaluation.parts import Parts
from vitcam.report import ReportError, read_runs, report_page, score_tables


def by_place(tables):
    return {(table.measure.key, row.method): row for table in tables for row in table.rows}


def test_groups_of_images_give_the_same_report_nearly(tmp_path, monkeypatch):
    rows = rows_of(images=200) + rows_of("perturbation", images=200)
    pixels = np.random.default_rng(0).random((len(rows), 2, 6)).cumsum(axis=2)
    for row, (hits, others) in zip(rows, pixels, strict=True):
        if row["task"] == "localization" and row["correct"]:
            row |= {"pixel_hits_curve": hits.tolist(), "pixel_predicted_curve": (hits + others).tolist()}
    folder = write_run(tmp_path / "run", rows, parts=1, images=200, task="all")
    alone = by_place(score_tables(read_runs([folder])))
    monkeypatch.setattr(sums, "UNITS", 60)
    monkeypatch.setattr(stored_rows, "IMAGES", 13)
    runs = read_runs([folder])
    tables = score_tables(runs)
    assert {key for key, _ in alone} >= {"pxap", "max_box_accuracy"}
    assert by_place(tables).keys() == alone.keys()
    for place, row in by_place(tables).items():
        own = alone[place]
        assert row.estimate.mean == pytest.approx(own.estimate.mean, abs=1e-12)
        assert row.estimate.images == own.estimate.images
        assert row.estimate.high - row.estimate.low == pytest.approx(
            own.estimate.high - own.estimate.low, rel=0.35, abs=1e-9
        )
        assert row.leads == own.leads
        if own.difference:
            assert row.difference.estimate.mean == pytest.approx(own.difference.estimate.mean, abs=1e-12)
            assert row.difference.estimate.images == own.difference.estimate.images
    assert "Gallery" in report_page(runs, tables)


def test_a_run_is_never_read_whole(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", rows_of(images=60) + rows_of("perturbation", images=60), task="all")
    monkeypatch.setattr(stored_rows, "IMAGES", 7)
    read, merged = [], stored_rows.merged

    def counted(parts):
        found = merged(parts)
        read.append(found["image"].n_unique())
        return found

    monkeypatch.setattr(stored_rows, "merged", counted)
    runs = read_runs([folder])
    report_page(runs, score_tables(runs))
    assert max(read) == 7


def test_a_bit_that_has_flipped_is_named(tmp_path):

    folder = write_run(tmp_path / "run", rows_of(), parts=1)
    (old,) = (folder / "rows").iterdir()

    parts = Parts(folder / "rows")
    parts.add(pl.read_parquet(old))
    old.unlink()
    (path,) = parts.paths()
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(
        ReportError, match=rf"{path.name} is damaged \(its content isn't what its name's digest says"
    ):
        read_runs([folder])

"""The control that knows the truth: its map, and where it is in runs."""

from __future__ import annotations

import miniature
import numpy as np
import polars as pl
import pytest
import torch

from vitcam.errors import MethodError
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.oracle import oracle_maps
from vitcam.evaluation.settings import with_controls
from vitcam.explaining import Explanation
from vitcam.heatmap import upsample
from vitcam.report import as_csv, read_runs, score_tables


def truth(region, void=None):
    nothing = np.zeros_like(region)
    return Truth(0, (), region, nothing if void is None else void, has_mask=True)


def explanation(rows, columns, size, region=None):
    maps, targets = torch.zeros(1, 1, rows, columns), torch.zeros(1, 1, dtype=torch.int64)
    return Explanation(maps, targets, None, "any", size, [], region=region)


def region(seed=0, size=(24, 36)):
    return np.random.default_rng(seed).random(size) < 0.4


def test_it_is_the_share_of_each_patch():
    inside, undecided = region(0), region(1)
    maps, on_grid = oracle_maps([truth(inside, undecided), None], explanation(4, 6, (24, 36)))
    assert torch.equal(maps, on_grid)
    for row in range(4):
        for column in range(6):
            pixels = [(y, x) for y in range(row * 6, row * 6 + 6) for x in range(column * 6, column * 6 + 6)]
            share = sum(inside[place] and not undecided[place] for place in pixels) / 36
            assert maps[0, row, column].item() == pytest.approx(share)
    assert not maps[1].any()


def test_patches_that_cover_a_part_are_laid_over_it():
    inside, part = region(2), (6, 0, 18, 36)
    maps, on_grid = oracle_maps([truth(inside)], explanation(2, 6, (24, 36), part))
    assert on_grid.shape == (1, 2, 6)
    assert on_grid[0, 0, 1].item() == pytest.approx(inside[6:12, 6:12].mean())
    assert torch.equal(maps[0], upsample(on_grid[:, None], (24, 36), part, (24, 36))[0, 0])


def test_it_is_in_vitcams_protocol_or_asked_for():
    assert with_controls(["agcam"]) == ("agcam", "random", "center")
    assert with_controls(["agcam"], "vitcam") == ("agcam", "random", "center", "oracle")
    assert with_controls(["oracle", "agcam"]) == with_controls(["agcam", "oracle"], "vitcam")
    assert with_controls(["oracle"]) == ("random", "center", "oracle")
    with pytest.raises(MethodError):
        with_controls([])


def test_it_is_the_ceiling_of_localization(run):
    numbers = run("localization", protocol="vitcam", tests=["energy", "pixel-ap", "pointing"], limit=9)[
        "localization"
    ]
    assert list(numbers) == ["agcam", "rollout", "random", "center", "oracle"]
    for key in ("energy", "pixel_ap", "pointing"):
        assert numbers["oracle"][key] > max(numbers[method][key] for method in list(numbers)[:-1])


def test_perturbation_compares_with_it_where_the_truth_is_known(run, data, folder, tmp_path):
    """Photographs without a box have no row of it, and all others what they have without it."""
    boxes = (data / "boxes.csv").read_text().splitlines()
    some = tmp_path / "some.csv"
    some.write_text("\n".join([boxes[0], *boxes[1::2]]))
    settings = {
        "protocol": "vitcam",
        "tests": ["abpc", "saco", "token-dropping"],
        "steps": 3,
        "methods": ["agcam"],
    }
    numbers = run("perturbation", data_options={"boxes": str(some)}, **settings)["perturbation"]
    assert numbers["agcam"]["images"] == 23
    assert 0 < numbers["oracle"]["images"] < 23
    rows = folder.read().filter(pl.col("error").is_null())
    boxed = {line.split(",")[0] for line in boxes[1::2]} - {miniature.BROKEN}
    assert set(rows.filter(pl.col("method") == "oracle")["image"]) == boxed
    plain = run("perturbation", output=tmp_path / "plain", **{**settings, "protocol": "paper", "tests": []})
    assert numbers["agcam"]["abpc"] == pytest.approx(plain["perturbation"]["agcam"]["abpc"], abs=1e-5)
    tables = as_csv(score_tables(read_runs([folder.path])))
    assert "run,perturbation,abpc,oracle," in tables


def test_without_any_truth_it_is_not_in_the_table(run, data, tmp_path):
    none = tmp_path / "none.csv"
    none.write_text("file,left,top,right,bottom\n")
    settings = {
        "protocol": "vitcam",
        "tests": ["abpc"],
        "steps": 3,
        "limit": 4,
        "data_options": {"boxes": str(none)},
    }
    assert list(run("perturbation", **settings)["perturbation"]) == [*miniature.METHODS, "random", "center"]
    tables = as_csv(score_tables(read_runs([tmp_path / "run"])))
    assert "oracle" not in tables

"""Chefer's test in a run: of the true class's heatmaps and of the predicted one's."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import vitcam
from vitcam.evaluation import open_dataset
from vitcam.evaluation.metrics.chefer import chefer_perturbation


def test_heatmaps_of_both_classes_are_tried(run, folder, data, model):
    run("perturbation", protocol="paper", tests=["chefer-perturbation"], limit=8)
    rows = folder.read().filter(pl.col("method") == "agcam").drop_nulls("correct").to_dicts()
    assert {row["correct"] for row in rows} == {False, True}
    dataset = open_dataset(f"folder:{data}")
    black = torch.full((3, 1, 1), -1.0)  # 0, with mean and standard deviation 0.5
    for row in rows:
        pixels = model.preprocess(dataset[dataset.ids.index(row["image"])].image())
        for name, explained in (("target", row["target"]), ("predicted", row["predicted"])):
            heatmaps = vitcam.explain(model, pixels, "agcam", explained).heatmaps[:, 0]
            oracle = chefer_perturbation(model.module, pixels, heatmaps, torch.tensor([row["target"]]), black)
            for direction in ("positive", "negative"):
                assert row[f"chefer_{direction}_{name}"] == getattr(oracle, direction)[0].tolist()
                area = getattr(oracle, f"auc_{direction}").item()
                assert row[f"chefer_auc_{direction}_{name}"] == pytest.approx(area, abs=1e-6)
    curves = ("chefer_positive", "chefer_negative")
    differing = [row for row in rows if any(row[f"{c}_target"] != row[f"{c}_predicted"] for c in curves)]
    assert differing
    assert not any(row["correct"] for row in differing)

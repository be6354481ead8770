"""Runs as ``vitcam evaluate`` stores them, made up."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

THRESHOLDS = [0.0, 0.25, 0.5, 0.75]
FRACTIONS = [0.0, 0.5, 1.0]
METHODS = ("agcam", "rollout", "random")
# How good each method is, so that tests know what must come out.
LEVELS = {"agcam": 0.7, "rollout": 0.5, "random": 0.2}
HOSTILE = "<script>alert('x')</script> & \"quoted\" | 100 % _ under"


def row(task, image, method, value, *, target=0, class_name="cat", correct=True, error=None, **numbers):
    """One row; a localization row that is wrong has no numbers."""
    known = {
        "task": task,
        "image": image,
        "method": method,
        "target": target,
        "class_name": class_name,
        "label": target,
        "predicted": target if correct else target + 1,
        "correct": correct,
        "error": error,
    }
    if error is not None:
        return {**dict.fromkeys(known), "task": task, "image": image, "error": error}
    if task == "localization":
        own = {
            "iou": value,
            "pixel_accuracy": value / 2,
            "iou_curve": [value * (1 - threshold) for threshold in THRESHOLDS],
            "largest_box_iou_curve": [value, value / 2, 0.0, 0.0],
        }
        return known | (own if correct else dict.fromkeys(own)) | numbers
    own = {
        "abpc": value,
        "auc_lerf": 0.5 + value / 2,
        "auc_morf": 0.5 - value / 2,
        "lerf": [1.0, 0.5 + value / 2, 0.1],
        "morf": [1.0, 0.5 - value / 2, 0.1],
    }
    return known | own | numbers


def rows_of(task="localization", images=30, methods=METHODS, classes=3, seed=0, class_names=None):
    """Every fifth image is predicted wrong; scores are ``LEVELS`` plus noise."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        target = i % classes
        for method in methods:
            value = float(np.clip(LEVELS.get(method, 0.4) + 0.1 * random.standard_normal(), 0, 1))
            name = (class_names or ["cat", "dog", "owl"])[target]
            rows.append(
                row(
                    task,
                    f"photo_{i:03d}.jpg",
                    method,
                    value,
                    target=target,
                    class_name=name,
                    correct=i % 5 > 0,
                )
            )
    return rows


def settings_of(**changes):
    settings = {
        "format": 1,
        "task": "localization",
        "protocol": "paper",
        "methods": list(METHODS),
        "threshold": 0.5,
        "steps": 2,
        "limit": None,
        "batch_size": 8,
        "precision": "fp32",
        "seed": 0,
        "thresholds": THRESHOLDS,
        "fractions": FRACTIONS,
        "data": "folder:/nowhere",
        "dataset": {
            "kind": "folder",
            "fingerprint": "ab12",
            "photographs": 1000,
            "classes": 3,
            "notes": ["One note."],
        },
        "model": {
            "spec": "embedded:photo",
            "weights": "be7db328",
            "input": {"width": 8, "height": 8},
            "preprocessing": "Preprocessing(…)",
        },
        "class_match": "3 of 3 classes matched by name",
        "images": 30,
        "unmatched": 4,
        "versions": {"vitcam": "0.1.0"},
        "environment": {"python": "3.11"},
    }
    return {**settings, **changes}


def write_run(folder, rows, parts=1, **changes):
    """Stores rows, spread over files."""
    (folder / "rows").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(settings_of(**changes)), encoding="utf-8")
    for i in range(parts):
        write_part(folder, rows[i::parts], i)
    return folder


def write_part(folder, rows, number):
    names = list(dict.fromkeys(name for each in rows for name in each))
    types = {"target": pl.Int64, "label": pl.Int64, "predicted": pl.Int64, "correct": pl.Boolean}
    types |= dict.fromkeys(("task", "image", "method", "class_name", "error"), pl.String)
    curves = {name for each in rows for name, value in each.items() if isinstance(value, list)}
    types |= dict.fromkeys((name for name in names if name in curves), pl.List(pl.Float64))
    schema = {name: types.get(name, pl.Float64) for name in names}
    frame = pl.DataFrame([{name: each.get(name) for name in names} for each in rows], schema=schema)
    frame.write_parquet(folder / "rows" / f"part-{number:06d}-0000000{number}.parquet")

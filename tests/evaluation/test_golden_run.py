"""The authors' numbers, through the whole way from items to the summary."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from vitcam import Explanation, LoadedModel, Preprocessing
from vitcam.evaluation import Dataset, Sample
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import RunJob
from vitcam.evaluation.loading import Item
from vitcam.evaluation.rows import to_frame
from vitcam.evaluation.settings import RunSettings
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.summary import summarize
from vitcam.evaluation.work import batch_rows
from vitcam.types import Box

GOLDEN = Path(__file__).parents[1] / "golden"
NUMBERS = ["pixel_accuracy", "iou", "dice", "precision", "recall"]


def job_of(module, task, size=(224, 224), **settings):
    given = {"protocol": "paper", "threshold": 0.5, "steps": 10, "limit": None, "batch_size": 8}
    all_settings = {**given, **settings, "precision": "fp32", "seed": 0}
    half = (0.5, 0.5, 0.5)
    model = LoadedModel(module, Preprocessing(size=size, mean=half, std=half))
    sample = Sample("unused", Path("unused"), (0,))
    classes = tuple(DatasetClass(f"class {i}") for i in range(20))
    dataset = Dataset("made", Path(), classes, (sample,), read=lambda record: record)
    return RunJob(
        RunSettings(task, methods=("golden",), **all_settings), dataset, model, tuple(range(20)), False
    )


def stored(rows, columns, task, path):
    folder = RunFolder(path)
    folder.create()
    folder.begin({})
    folder.append(to_frame(rows, columns))
    return folder.read(), summarize(folder.stored_rows, [task], ["golden"], 0, 0)[task]["golden"]


def answer_with(heatmaps, targets):
    logits = torch.zeros(len(targets), 10)
    explanation = Explanation(heatmaps[:, None], targets[:, None], logits, "golden", (224, 224), [])
    return lambda *args, **kwargs: {"golden": explanation}


CASES = json.loads((GOLDEN / "localization.json").read_text())


@pytest.mark.parametrize("threshold", sorted({case["threshold"] for case in CASES}))
def test_localization(tmp_path, monkeypatch, threshold):
    heatmaps = load_file(GOLDEN / "localization.safetensors")["heatmaps"]
    cases = [case for case in CASES if case["threshold"] == threshold]
    nowhere = np.zeros((224, 224), dtype=bool)
    truths = [
        Truth(0, tuple(Box(*box) for box in case["gt_boxes"]), nowhere, nowhere, False) for case in cases
    ]
    items = [Item(f"{i:03d}", torch.zeros(3, 224, 224), {0: 0}, {0: truth}) for i, truth in enumerate(truths)]
    answer = answer_with(
        heatmaps[[case["heatmap"] for case in cases]], torch.zeros(len(cases), dtype=torch.long)
    )
    monkeypatch.setattr("vitcam.evaluation.job.compare", answer)
    job = job_of(torch.nn.Linear(1, 1), "localization", threshold=threshold)
    columns = job.settings.columns("localization", masks=False)
    rows, summary = stored(batch_rows(items, job, "localization"), columns, "localization", tmp_path)
    for name in NUMBERS:
        golden = [case[name] for case in cases]
        assert rows[name].to_list() == pytest.approx(golden, abs=1e-5)
        assert summary[name] == pytest.approx(sum(golden) / len(golden), abs=1e-5)


def test_perturbation(tmp_path, monkeypatch):
    golden = load_file(GOLDEN / "abpc.safetensors")
    with safe_open(GOLDEN / "abpc.safetensors", framework="pt") as file:
        given = {key: ast.literal_eval(value) for key, value in file.metadata().items()}
    given = {key: value for key, value in given.items() if key not in ("mean", "std")}
    module = VisionTransformer(**given).eval()
    prefix = "weights/"
    module.load_state_dict(
        {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}
    )
    targets = golden["targets"]
    images = (golden["images"] - 0.5) / 0.5
    items = [Item(f"{i}", image, {int(targets[i]): int(targets[i])}, {}) for i, image in enumerate(images)]
    monkeypatch.setattr("vitcam.evaluation.job.compare", answer_with(golden["heatmaps"], targets))
    job = job_of(module, "perturbation")
    columns = job.settings.columns("perturbation", masks=False)
    rows, summary = stored(batch_rows(items, job, "perturbation"), columns, "perturbation", tmp_path)
    for curve in ("lerf", "morf"):
        assert torch.tensor(rows[curve].to_list()).sub(golden[curve]).abs().max() < 1e-3
    abpc = golden["lerf"].mean(1) - golden["morf"].mean(1)
    assert rows["abpc"].to_list() == pytest.approx(abpc.tolist(), abs=1e-4)
    assert summary["abpc"] == pytest.approx(abpc.mean().item(), abs=1e-4)

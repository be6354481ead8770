from __future__ import annotations

import json
from pathlib import Path

import naive_metrics as naive
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vitcam import heatmap as heat
from vitcam.boxes import boxes_from_heatmap
from vitcam.errors import MetricError
from vitcam.evaluation.metrics.localization import localization_scores, localization_sweep
from vitcam.types import Box

GOLDEN = Path(__file__).parents[2] / "golden"
ROWS = json.loads((GOLDEN / "localization.json").read_text())
HEATMAPS = load_file(GOLDEN / "localization.safetensors")["heatmaps"]
NAMES = ["pixel_accuracy", "iou", "dice", "precision", "recall"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['heatmap']}@{row['threshold']}")
def test_equals_the_authors(row):
    heatmap = HEATMAPS[row["heatmap"]]
    map01 = heat.normalize(heat.upsample(heatmap[None, None], (224, 224)))[0, 0]
    found = boxes_from_heatmap(map01, row["threshold"])
    assert sorted(map(list, found)) == sorted(row["pred_boxes"])

    scores = localization_scores(heatmap, row["gt_boxes"], threshold=row["threshold"])
    assert list(scores) == NAMES
    for name in NAMES:
        assert scores[name] == pytest.approx(row[name], abs=1e-5)


def test_equals_a_naive_version_at_another_size():
    heatmap, size, threshold = naive.distinct_heatmap(4, 6, seed=1), (40, 54), 0.6
    true_boxes = [(5, 4, 20, 30), (18, 10, 53, 39)]
    hot = [[value > threshold for value in line] for line in naive.pixel_map(heatmap, *size)]
    predicted = _filled(_regions(hot), size)
    expected = naive.five_scores(predicted, _filled(true_boxes, size))

    scores = localization_scores(heatmap, true_boxes, size, threshold)
    assert scores == pytest.approx(expected, abs=1e-9)
    assert 0.05 < scores["iou"] < 0.95


def test_sweep_of_a_batch_equals_one_by_one():
    boxes = [row["gt_boxes"] for row in ROWS[:6:3]]
    sweep = localization_sweep(HEATMAPS[:2], boxes, thresholds=[0.3, 0.5, 0.7])
    for image in range(2):
        for column, threshold in enumerate([0.3, 0.5, 0.7]):
            one = localization_scores(HEATMAPS[image], boxes[image], threshold=threshold)
            assert {name: sweep[name][image, column].item() for name in NAMES} == one
    assert sweep["iou"].shape == (2, 3)


def test_takes_boxes_however_they_are_written():
    heatmap = HEATMAPS[0]
    expected = localization_scores(heatmap, [(64, 53, 103, 90)])
    assert localization_scores(heatmap, [Box(64, 53, 103, 90)]) == expected
    assert localization_scores(heatmap, torch.tensor([[64, 53, 103, 90]])) == expected
    assert localization_scores(heatmap, np.array([[64.0, 53.0, 103.0, 90.0]])) == expected


def test_a_constant_map_predicts_nothing():
    scores = localization_scores(torch.ones(14, 14), [(0, 0, 99, 99)])
    assert scores["recall"] == pytest.approx(1e-5 / 1e4, rel=1e-3)
    assert scores["pixel_accuracy"] == pytest.approx(1 - 1e4 / 224**2, abs=1e-6)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "no true box"),
        ([(10, 20, 5, 40)], r"left ≤ right.* got \(10.0, 20.0, 5.0, 40.0\)"),
        ([(10, 20, 30)], "expected a box as"),
        ((10, 20, 30, 40), r"expected a box as \(left, top, right, bottom\)"),
    ],
)
def test_refuses_what_are_no_boxes(boxes, message):
    with pytest.raises(MetricError, match=message):
        localization_scores(torch.rand(14, 14), boxes)


def _regions(hot: list[list[bool]]) -> list[tuple[int, int, int, int]]:
    """Bounding boxes of the 8-connected regions; one inside a hole of another adds nothing to the union."""
    height, width = len(hot), len(hot[0])
    unseen = {(y, x) for y in range(height) for x in range(width) if hot[y][x]}
    boxes = []
    while unseen:
        edge = [unseen.pop()]
        region = list(edge)
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & unseen
            unseen -= near
            edge += near
            region += near
        ys, xs = zip(*region, strict=True)
        boxes.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return boxes


def _filled(boxes, size):
    height, width = size
    return [
        [
            any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)
            for x in range(width)
        ]
        for y in range(height)
    ]

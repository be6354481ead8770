from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from vitcam.boxes import boxes_from_heatmap, boxes_from_mask, fill_boxes
from vitcam.errors import ImageError
from vitcam.heatmap import normalize, upsample
from vitcam.types import Box

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "localization.json").read_text())
"""Boxes and scores that the code of AGCAM's authors gives."""


@pytest.fixture(scope="module")
def golden_maps() -> np.ndarray:
    heatmaps = load_file(GOLDEN / "localization.safetensors")["heatmaps"]
    return normalize(upsample(heatmaps[:, None], (224, 224)))[:, 0].numpy()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"map {case['heatmap']} above {case['threshold']}")
def test_boxes_equal_the_authors(case: dict, golden_maps: np.ndarray):
    boxes = boxes_from_heatmap(golden_maps[case["heatmap"]], case["threshold"])
    assert sorted(tuple(box) for box in boxes) == sorted(tuple(box) for box in case["pred_boxes"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"map {case['heatmap']} above {case['threshold']}")
def test_filled_boxes_give_the_authors_overlap(case: dict):
    predicted, true = (
        fill_boxes([Box(*box) for box in case[key]], (224, 224)) for key in ("pred_boxes", "gt_boxes")
    )
    iou = ((predicted & true).sum() + 1e-5) / ((predicted | true).sum() + 1e-5)
    accuracy = (predicted == true).mean()
    assert iou == pytest.approx(case["iou"], abs=1e-6)
    assert accuracy == pytest.approx(case["pixel_accuracy"], abs=1e-6)


def outer_components(mask: np.ndarray) -> list[Box]:
    """Boxes of the 8-connected components that a 4-connected walk through background from outside can touch."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    outside, frontier = np.zeros_like(padded), [(0, 0)]
    while frontier:
        y, x = frontier.pop()
        if 0 <= y < height + 2 and 0 <= x < width + 2 and not padded[y, x] and not outside[y, x]:
            outside[y, x] = True
            frontier += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    boxes, seen = [], np.zeros_like(padded)
    for start in zip(*np.nonzero(padded), strict=True):
        if seen[start]:
            continue
        part, frontier = [], [start]
        while frontier:
            y, x = frontier.pop()
            if padded[y, x] and not seen[y, x]:
                seen[y, x] = True
                part.append((y, x))
                frontier += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        if any(outside[y + dy, x + dx] for y, x in part for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))):
            ys, xs = zip(*part, strict=True)
            boxes.append(Box(int(min(xs)) - 1, int(min(ys)) - 1, int(max(xs)), int(max(ys))))
    return boxes


@pytest.mark.parametrize("seed", range(8))
def test_every_outer_region_has_its_box_the_largest_first(seed: int):
    mask = np.random.default_rng(seed).random((17, 23)) < 0.1 + 0.1 * seed
    boxes = boxes_from_mask(mask)
    assert sorted(map(tuple, boxes)) == sorted(map(tuple, outer_components(mask)))
    areas = [box.width * box.height for box in boxes]
    assert areas == sorted(areas, reverse=True)


def test_what_lies_in_a_hole_has_no_box():
    mask = np.ones((7, 7), dtype=bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert boxes_from_mask(mask) == [Box(0, 0, 7, 7)]


def test_nothing_above_the_threshold_gives_no_boxes():
    assert boxes_from_mask(np.zeros((4, 4), dtype=bool)) == []
    assert boxes_from_heatmap(np.zeros((4, 4)), threshold=0) == []


def test_only_pixels_strictly_above_the_threshold_count():
    heatmap = np.array([[0.5, 0.50001], [0.5, 0.0]])
    assert boxes_from_heatmap(heatmap, 0.5) == [Box(1, 0, 2, 1)]


def test_fill_includes_both_ends_and_stops_at_the_border():
    assert fill_boxes([Box(1, 0, 2, 1)], (3, 4)).astype(int).tolist() == [
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    assert fill_boxes([Box(-5, 2, 1, 99)], (3, 3)).astype(int).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert not fill_boxes([Box(-5, -5, -3, -3), Box(9, 9, 12, 12)], (3, 3)).any()
    assert not fill_boxes([], (3, 3)).any()
    assert fill_boxes([Box(0.9, 0.2, 1.9, 0.9)], (2, 3)).astype(int).tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("heatmap", "threshold", "message"),
    [
        (np.zeros((3, 3)), 50, "a fraction of the map's range, 0 to 1; got 50"),
        (np.zeros((3, 3)), float("nan"), "a fraction of the map's range"),
        (np.zeros((2, 3, 3)), 0.5, r"one map \(height, width\); got an array of shape \(2, 3, 3\)"),
        (np.zeros((0, 3)), 0.5, r"shape \(0, 3\)"),
        (np.full((3, 3), 7.0), 0.5, r"0\.\.1; this one has 7\.0 to 7\.0. Scale it with"),
        (np.array([[0.0, np.nan]]), 0.5, "this one has nan to nan"),
    ],
)
def test_errors_say_what_came(heatmap: np.ndarray, threshold: float, message: str):
    with pytest.raises(ImageError, match=message):
        boxes_from_heatmap(heatmap, threshold)

from __future__ import annotations

import pytest
import torch

from vitcam.errors import MetricError
from vitcam.evaluation.metrics.max_box_accuracy import (
    best_box_iou,
    largest_box_iou,
    max_box_accuracy,
    max_box_accuracy_v2,
)


def _two_blobs() -> torch.Tensor:
    """A large, lukewarm blob on the left, a small, hot one on the right; one pixel per patch."""
    heatmap = torch.zeros(20, 30)
    heatmap[2:14, 1:13] = 0.6
    heatmap[5:9, 20:26] = 1.0
    return heatmap


TRUTH = [(20, 5, 27, 9)]  # One column more than the small blob.


def test_largest_and_best_box():
    thresholds = [0.5, 0.8]
    largest = largest_box_iou(_two_blobs()[None], [TRUTH], (20, 30), thresholds)
    best = best_box_iou(_two_blobs()[None], [TRUTH], (20, 30), thresholds)
    small = (6 * 4) / (7 * 4)
    assert largest[0].tolist() == pytest.approx([0.0, small])
    assert best[0].tolist() == pytest.approx([small, small])


def test_of_several_true_boxes_the_best_fitting_counts():
    boxes = [[(0, 14, 5, 20), (1, 2, 13, 8), (1, 2, 13, 14)]]
    assert largest_box_iou(_two_blobs()[None], boxes, (20, 30), [0.5]).item() == 1.0


def test_iou_equals_counting_pixels():
    generator = torch.Generator().manual_seed(4)
    heatmaps = torch.rand(4, 5, 6, generator=generator)
    truths = [(3, 2, 17, 19)]
    got = largest_box_iou(heatmaps, [truths] * 4, (20, 24), [0.4, 0.7])
    from vitcam.boxes import boxes_from_heatmap
    from vitcam.evaluation.metrics.maps import pixel_maps

    for image, map01 in enumerate(pixel_maps(heatmaps, (20, 24))):
        for column, threshold in enumerate([0.4, 0.7]):
            boxes = boxes_from_heatmap(map01, threshold)
            box = max(boxes, key=lambda box: box.width * box.height)
            assert got[image, column].item() == pytest.approx(_pixel_iou(box, truths[0]))


def test_nothing_above_the_threshold_is_a_miss():
    assert largest_box_iou(torch.ones(1, 4, 4), [[(0, 0, 4, 4)]], (8, 8), [0.0]).item() == 0.0


def test_the_best_threshold_is_one_for_the_dataset():
    ious = torch.tensor([[0.9, 0.1, 0.5], [0.1, 0.9, 0.5], [0.2, 0.6, 0.0]])
    assert max_box_accuracy(ious) == pytest.approx(2 / 3)
    assert max_box_accuracy(ious, 0.7) == pytest.approx(1 / 3)
    assert max_box_accuracy(ious, 0.0) == 1.0
    # 0.3: 2/3 (second and third threshold), 0.5: 2/3, 0.7: 1/3
    assert max_box_accuracy_v2(ious) == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)


def test_refuses_images_without_boxes():
    with pytest.raises(MetricError, match="no true box"):
        best_box_iou(torch.rand(1, 4, 4), [[]], (8, 8))


def _pixel_iou(a, b) -> float:
    def cells(box):
        left, top, right, bottom = box
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    return len(cells(a) & cells(b)) / len(cells(a) | cells(b))

"""Where a class is in what a model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitcam import Preprocessing
from vitcam.boxes import fill_boxes
from vitcam.errors import DatasetError
from vitcam.evaluation import Sample
from vitcam.evaluation.ground_truth import find_truth
from vitcam.evaluation.protocol import protocol_preprocessing, protocol_thresholds
from vitcam.types import Box

HALF = (0.5, 0.5, 0.5)
CROPPING = Preprocessing(size=(20, 20), mean=HALF, std=HALF, resize_mode="shortest", resize=(25, 25))


class Segmented:
    def __init__(self, inside, unknown):
        self.inside, self.unknown = inside, unknown

    def mask(self, labels):
        return self.inside

    def void(self, labels):
        return self.unknown


def boxed(*boxes, **rest):
    return Sample("a", Path("a.png"), (0,), tuple(boxes), (0,) * len(boxes), **rest)


def test_paper_cuts_fractions_off():
    """int(x/width·224), for every width that rounding could spoil."""
    paper = Preprocessing.paper()
    for width in range(1, 600, 7):
        for x in range(0, width, 5):
            truth = find_truth(boxed(Box(x, 0, width, 9)), [0], paper, (width, 10))
            assert int(truth.boxes[0].left) == int(x / width * 224)
            assert truth.boxes[0].right == 224


def test_what_is_cropped_away_is_cut_off():
    # 40×20 → 50×25 → 20×20 from (15, 2): columns 12..28 and rows 1.6..17.6 of the photograph
    truth = find_truth(boxed(Box(10, 4, 20, 30)), [0], CROPPING, (40, 20))
    assert tuple(truth.boxes[0]) == pytest.approx((0, 3, 10, 20))
    assert truth.region.sum() == truth.region[3:, :10].sum() == 17 * 10
    with pytest.raises(DatasetError, match="is outside of what the model sees"):
        find_truth(boxed(Box(0, 0, 11, 9)), [0], CROPPING, (40, 20))


def test_masks_go_the_photographs_way():
    mask = np.zeros((20, 40), dtype=bool)
    mask[4:12, 16:24] = True
    unknown = np.zeros((20, 40), dtype=bool)
    unknown[:, 16:18] = True
    unknown[0:4] = True
    truth = find_truth(boxed(segmentation=Segmented(mask, unknown)), [0], CROPPING, (40, 20))
    # ×1.25, after 12 columns and 1.6 rows
    assert truth.has_mask
    assert truth.region.sum() == 100
    assert truth.region[3:13, 5:15].all()
    assert truth.boxes[0].left == 5
    assert truth.boxes[0].right == 15
    assert truth.void[0].all()
    assert not (truth.void & truth.region).any()


def test_a_border_holds_nothing():
    padding = Preprocessing(size=(20, 20), mean=HALF, std=HALF, resize_mode="longest")
    mask = np.ones((10, 20), dtype=bool)
    truth = find_truth(boxed(Box(0, 0, 20, 10), segmentation=Segmented(mask, ~mask)), [0], padding, (20, 10))
    assert truth.region.sum() == 20 * 10
    assert truth.region[5:15].all()
    assert tuple(truth.boxes[0]) == pytest.approx((0, 5, 20, 15))


def test_boxes_fill_the_pixels_whose_centres_are_in_them():
    whole = Preprocessing(size=(10, 10), mean=HALF, std=HALF)
    truth = find_truth(boxed(Box(2, 3, 5, 7), Box(9.8, 9.8, 9.9, 9.9)), [0], whole, (10, 10))
    expected = fill_boxes([Box(2, 3, 4, 6)], (10, 10))
    expected[9, 9] = True  # the smallest object is still somewhere
    assert (truth.region == expected).all()


def test_nothing_known_is_said():
    with pytest.raises(DatasetError, match="a: the object has neither a box nor a mask"):
        find_truth(boxed(), [0], Preprocessing.paper(), (10, 10))


def test_the_papers_preprocessing_is_that_of_its_model():
    own = Preprocessing(
        size=(224, 224),
        mean=HALF,
        std=HALF,
        interpolation="bicubic",
        resize_mode="shortest",
        resize=(248, 248),
    )
    assert protocol_preprocessing("paper", own) == Preprocessing(
        size=(224, 224), mean=HALF, std=HALF, interpolation="bilinear"
    )
    assert protocol_preprocessing("paper", own) == Preprocessing.paper()
    assert protocol_preprocessing("vitcam", own) == own


def test_the_threshold_is_one_of_the_swept():
    assert protocol_thresholds("paper", 0.5) == tuple(step / 10 for step in range(10))
    assert protocol_thresholds("vitcam", 0.33).count(0.33) == 1
    assert len(protocol_thresholds("vitcam", 0.35)) == 20

"""Composed pictures: what is true of them is where they were composed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from vitcam.evaluation import open_dataset
from vitcam.evaluation.datasets.composing import ellipse


@pytest.fixture(scope="module")
def pasted():
    return open_dataset("synthetic:", count=12, side=96)


def background(dataset, index):
    """The picture without its objects."""
    record = dataset.records[index]
    colours = np.random.default_rng([*record.seed, 1]).integers(60, 196, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(colours).resize((96, 96), Image.Resampling.BICUBIC))


def test_the_mask_is_what_was_pasted(pasted):
    """Outside of it the picture is its background; inside nearly no pixel is."""
    for index in range(len(pasted)):
        sample = pasted[index]
        differs = (np.asarray(sample.image()) != background(pasted, index)).any(axis=2)
        assert not (differs & ~sample.mask()).any()
        assert differs[sample.mask()].mean() > 0.98


def test_two_objects_of_different_classes_apart(pasted):
    seen = set()
    for index in range(len(pasted)):
        sample = pasted[index]
        one, other = (sample.mask(label) for label in sample.labels)
        seen.update(sample.labels)
        assert not (one & other).any()
        for label, mask in zip(sample.labels, (one, other), strict=True):
            (box,) = sample.boxes_of(label)
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == tuple(box)
            assert 0.04 < mask.mean() < 0.25
            assert 0 <= box.left < box.right <= 96
            assert 0 <= box.top < box.bottom <= 96
        assert not sample.void().any()
    assert seen == {0, 1, 2}
    assert pasted.explained == "labelled"


def test_the_seed_decides(pasted):
    again, other = (
        open_dataset("synthetic:", count=12, side=96),
        open_dataset("synthetic:", count=12, side=96, seed=1),
    )
    assert pickle.loads(pickle.dumps(again))[3].image().tobytes() == pasted[3].image().tobytes()
    assert again.fingerprint == pasted.fingerprint != other.fingerprint
    # fewer are the first of more
    assert open_dataset("synthetic:", count=4, side=96).records == pasted.records[:4]


def test_photographs_of_a_folder(tmp_path):
    for name, shade in (("a", 250), ("b", 5)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 20), (shade,) * 3).save(tmp_path / name / "0.png")
    made = open_dataset(f"synthetic:{tmp_path}", count=3, side=64)
    assert [each.name for each in made.classes] == ["a", "b"]
    picture = np.asarray(made[0].image())
    assert (picture[made[0].mask(0)] == 250).all()
    assert (picture[made[0].mask(1)] == 5).all()


def test_whole_photographs_for_focus(tmp_path):
    whole = open_dataset("synthetic:", scene="photographs", count=9, side=96)
    assert [whole[i].labels for i in range(3)] == [(0,), (1,), (2,)]
    assert whole.explained == "predicted"
    cup = whole[1].boxes[0]
    assert 0 <= cup.left < cup.right <= 96
    assert cup.right - cup.left > 48
    assert whole[0].segmentation is None
    focus = open_dataset("mosaic:synthetic:", kind="focus", scene="photographs")
    assert len(focus[0].boxes) == 2


def test_a_box_is_mirrored_with_its_photograph(tmp_path):
    """The object is the white part of its photograph."""
    (tmp_path / "a").mkdir()
    photo = np.zeros((60, 80, 3), dtype=np.uint8)
    photo[:, 10:30] = 255
    Image.fromarray(photo).save(tmp_path / "a" / "0.png")
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\na/0.png,10,0,30,60\n")
    made = open_dataset(f"synthetic:{tmp_path}", scene="photographs", count=8, side=96)
    assert {record.mirrored for record in made.records} == {(True,), (False,)}
    for index in range(8):
        white = np.nonzero(np.asarray(made[index].image().convert("L"))[48] > 127)[0]
        assert made[index].boxes[0].left == pytest.approx(white.min(), abs=1.5)
        assert made[index].boxes[0].right == pytest.approx(white.max() + 1, abs=1.5)


def test_an_ellipse_fills_its_rectangle():
    for height, width in ((40, 40), (52, 31)):
        area = ellipse(height, width).sum()
        assert area == pytest.approx(np.pi / 4 * height * width, rel=0.06)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"scene": "faces"},
            "option scene of a synthetic dataset must be objects or photographs; got 'faces'",
        ),
        ({"count": 0}, "count of a synthetic dataset must be 1 or more"),
        ({"side": 8}, "side of a synthetic dataset must be from 32 to 4096 pixels; got 8"),
        ({"objects": 2}, "has no option 'objects': its options are scene, count, seed, side"),
    ],
)
def test_what_makes_no_sense_is_said(options, why, complains):
    with complains(why):
        open_dataset("synthetic:", **options)


def test_two_classes_are_needed(tmp_path, photograph, complains):
    photograph(tmp_path / "a" / "0.png")
    with complains("two objects of different classes are pasted", "photographs of one only"):
        open_dataset(f"synthetic:{tmp_path}")

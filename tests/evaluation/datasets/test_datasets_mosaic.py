"""Mosaics: which photographs are where, and what is true of them."""

from __future__ import annotations

import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.evaluation import Dataset, Sample, open_dataset
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.datasets.kinds import path_of
from vitcam.evaluation.datasets.mosaic import open_mosaic
from vitcam.evaluation.opening import from_anywhere
from vitcam.types import Box

NAMES = ("cat", "cup", "dog", "hen", "owl", "pig")


def colour(index):
    return Image.new("RGB", (30, 20), (index * 4, 255 - index * 4, 7))


def photographs(count=48, classes=6):
    samples = tuple(Sample(f"{i}", None, (i % classes,), pixels=partial(colour, i)) for i in range(count))
    return Dataset("made", Path("made"), tuple(map(DatasetClass, NAMES[:classes])), samples, read=same)


def same(sample):
    return sample


@pytest.mark.parametrize("grid", [2, 3])
def test_a_grid_has_a_photograph_of_a_class_of_its_own_in_each_tile(grid):
    base = photographs(classes=6) if grid == 2 else nine()
    mosaics = open_mosaic(base, grid=grid, mosaics=5)
    assert len(mosaics) == 5
    used = Counter()
    for number, record in enumerate(mosaics.records):
        sample = mosaics[number]
        picture = np.asarray(sample.image())
        assert picture.shape == (grid * 224, grid * 224, 3)
        assert len(sample.labels) == len(sample.boxes) == grid**2
        assert (sample.width, sample.height) == sample.image().size
        for tile, (left, top, right, bottom) in zip(record.tiles, sample.boxes, strict=True):
            used[tile.id] += 1
            seen = picture[top:bottom, left:right].reshape(-1, 3)
            assert (seen == np.asarray(base[tile.number].image())[0, 0]).all()
            assert sample.boxes_of(tile.label) == (Box(left, top, right, bottom),)
            assert base[tile.number].labels == (tile.label,)
    assert set(used.values()) == {1}


def nine():
    samples = tuple(Sample(f"{i}", None, (i % 9,), pixels=partial(colour, i)) for i in range(60))
    return Dataset("made", Path("made"), tuple(DatasetClass(str(i)) for i in range(9)), samples, read=same)


def test_focus_explains_one_class_that_is_in_two_tiles():
    mosaics = open_mosaic(photographs(), kind="focus", mosaics=8)
    places = set()
    for number, record in enumerate(mosaics.records):
        (target,) = mosaics[number].labels
        of_class = Counter(tile.label for tile in record.tiles)
        assert of_class.pop(target) == 2
        assert sorted(of_class.values()) == [1, 1]
        assert mosaics[number].box_labels == (target, target)
        places.add(tuple(tile.label == target for tile in record.tiles))
    assert len(places) > 2  # not always in the same tiles
    assert len({mosaics[i].labels for i in range(8)}) > 2


def test_the_seed_decides(tmp_path):
    first, again, other = (open_mosaic(photographs(), seed=seed) for seed in (3, 3, 4))
    assert first.records == again.records
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    copy = pickle.loads(pickle.dumps(first))
    assert copy[0].image().tobytes() == first[0].image().tobytes()


def test_as_many_as_there_can_be():
    mosaics = open_mosaic(photographs(count=20, classes=4))
    assert len(mosaics) == 5
    assert "5 mosaics instead of 100" in " ".join(mosaics.notes)


def test_photographs_of_several_classes_are_no_tiles():
    base = photographs(count=24, classes=4)
    several = Dataset(
        "made",
        base.root,
        base.classes,
        tuple(Sample(s.id, None, s.labels if s.id != "0" else (0, 1), pixels=s.pixels) for s in base.records),
        read=same,
    )
    assert all(tile.id != "0" for record in open_mosaic(several).records for tile in record.tiles)


def test_classes_that_count_as_one_do_not_meet():
    plan = open_mosaic(photographs()).mosaics
    one = {label: min(label, 3) for label in range(5)}  # the fifth isn't known, the fourth is the third
    tiles = list(plan.drawn())
    for record in plan.composed(tiles, one):
        assert sorted(one[tile.label] for tile in record.tiles) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"grid": 1}, r"option grid of mosaics must be a whole number from 2 to 8; got 1"),
        ({"kind": "game"}, r"kind of mosaics must be grid or focus; got 'game'"),
        ({"mosaics": 0}, r"mosaics of mosaics must be 1 or more"),
        (
            {"confidence": "sure"},
            r"confidence of mosaics must be a probability from 0 to below 1; got 'sure'",
        ),
        ({"confidence": 1.0}, r"probability from 0 to below 1; got 1\.0"),
        ({"tiles": "large"}, r"tiles of mosaics must be auto, own or small"),
        ({"kind": "focus", "grid": 3}, r"Focus is defined for 2×2 mosaics; got grid=3"),
        (
            {"grid": 3},
            r"it needs photographs of 9 different classes, and of made:made there are 48 of 6 classes",
        ),
    ],
)
def test_what_makes_no_sense_is_said(options, why):
    with pytest.raises(DatasetError, match=why):
        open_mosaic(photographs(), **options)


def test_it_is_opened_by_its_specification(tmp_path, photograph, complains):
    for name in NAMES[:4]:
        for number in range(2):
            photograph(tmp_path / name / f"{number}.png")
    mosaics = open_dataset(f"mosaic:folder:{tmp_path}", mosaics=2)
    assert (mosaics.kind, mosaics.explained, len(mosaics)) == ("mosaic", "labelled", 2)
    with complains("'mosaic:' has no path"):
        open_dataset("mosaic:")
    with complains("the folder dataset has no option 'image_set'"):
        open_dataset(f"mosaic:folder:{tmp_path}", image_set="val")
    with complains("mosaics themselves"):
        open_dataset(f"mosaic:mosaic:folder:{tmp_path}")


def test_the_path_is_the_other_datasets(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert path_of("mosaic:folder:things") == "things"
    assert path_of("mosaic:synthetic:") == ""
    assert from_anywhere("mosaic:folder:things") == f"mosaic:folder:{tmp_path}/things"
    assert from_anywhere("mosaic:synthetic:") == "mosaic:synthetic:"

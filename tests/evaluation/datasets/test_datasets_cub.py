from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitcam.evaluation.datasets import open_dataset
from vitcam.types import Box

A, B, C = "001.Black_footed_Albatross/A_1", "002.Laysan_Albatross/B_1", "002.Laysan_Albatross/B_2"
VOTES = np.array([0, 51, 102, 153, 204, 255, 0, 0] * 6, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def base(tmp_path, photograph, write):
    base = tmp_path / "CUB_200_2011"
    for name in (A, B, C):
        photograph(base / "images" / f"{name}.jpg")
    write(base / "classes.txt", "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    write(base / "images.txt", f"1 {A}.jpg\n2 {B}.jpg\n3 {C}.jpg\n")
    write(base / "image_class_labels.txt", "1 1\n2 2\n3 2\n")
    write(base / "train_test_split.txt", "1 0\n2 1\n3 0\n")
    write(base / "bounding_boxes.txt", "1 1.0 2.0 5.0 3.0\n2 0.0 0.0 8.0 6.0\n3 1.5 0.0 2.0 6.0\n")
    return base


def segment(folder):
    path = folder / f"{A}.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(VOTES).save(path)
    return path


@pytest.mark.parametrize("above", [False, True])
def test_test_split_is_the_default(base, above):
    dataset = open_dataset(f"cub:{base.parent if above else base}")
    assert [item.name for item in dataset.classes] == ["Black footed Albatross", "Laysan Albatross"]
    assert dataset.ids == (f"{A}.jpg", f"{C}.jpg")
    assert [sample.labels for sample in dataset] == [(0,), (1,)]
    assert dataset[0].boxes == (Box(1, 2, 6, 5),)
    assert dataset[1].boxes == (Box(1.5, 0, 3.5, 6),)
    assert dataset[0].image().size == (8, 6)
    assert dataset[0].mask() is None


def test_fingerprint_follows_the_boxes(base):
    first = open_dataset(f"cub:{base}").fingerprint
    boxes = base / "bounding_boxes.txt"
    boxes.write_text(boxes.read_text().replace("5.0", "4.0"))
    assert open_dataset(f"cub:{base}").fingerprint != first


@pytest.mark.parametrize(("split", "count"), [("train", 1), ("all", 3)])
def test_other_splits(base, split, count):
    assert len(open_dataset(f"cub:{base}", split=split)) == count


@pytest.mark.parametrize("beside", [False, True])
def test_segmentations_by_majority(base, beside):
    segment((base.parent if beside else base) / "segmentations")
    first, second = open_dataset(f"cub:{base}")
    np.testing.assert_array_equal(first.mask(), VOTES >= 3 * 51)
    assert not first.mask(1).any()
    assert not first.void().any()
    assert second.mask() is None


def test_a_truncated_segmentation_is_named(base, complains):
    path = segment(base / "segmentations")
    path.write_bytes(path.read_bytes()[:50])
    with complains(path, "truncated"):
        open_dataset(f"cub:{base}")[0].mask()


def test_missing_lists_are_all_named(base, complains):
    (base / "bounding_boxes.txt").unlink()
    (base / "classes.txt").unlink()
    with complains(base / "bounding_boxes.txt", base / "classes.txt", "nothing is downloaded"):
        open_dataset(f"cub:{base}")


def test_a_missing_photograph_is_named(base, complains):
    (base / "images" / f"{B}.jpg").unlink()
    with complains("1 of the 3 files", base / "images" / f"{B}.jpg"):
        open_dataset(f"cub:{base}")


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("bounding_boxes.txt", "1 1.0 2.0 5.0 3.0\n2 0.0 0.0", "line 2: expected 5 fields"),
        (
            "bounding_boxes.txt",
            "1 1.0 2.0 5.0 3.0\n2 0 0 8 6",
            "no line for 1 of the 3 photographs, the first with the id 3",
        ),
        (
            "bounding_boxes.txt",
            "1 1.0 2.0 5.0 tall\n2 0 0 8 6\n3 0 0 8 6",
            "line 1: height must be a number, got 'tall'",
        ),
        (
            "bounding_boxes.txt",
            "1 1.0 2.0 -5.0 3\n2 0 0 8 6\n3 0 0 8 6",
            "line 1: a box must have left ≤ right",
        ),
        ("image_class_labels.txt", "1 1\n2 2\n3 7\n", "line 3: class '7' isn't one of the 2"),
        ("train_test_split.txt", "1 0\n2 yes\n3 0\n", "line 2: expected 1 (training) or 0 (test), got 'yes'"),
        ("images.txt", "1", "line 1: expected 2 fields (photograph, file)"),
    ],
)
def test_truncated_and_malformed_lists_are_refused(base, write, complains, file, text, problem):
    write(base / file, text)
    with complains(base / file, problem):
        open_dataset(f"cub:{base}")


def test_a_list_that_is_no_text_is_refused(base, complains):
    (base / "images.txt").write_bytes(b"1 \xff\xfe\x00")
    with complains(base / "images.txt", "UTF-8"):
        open_dataset(f"cub:{base}")


def test_an_unknown_split_is_refused(base, complains):
    with complains("train, test, all", "'val'"):
        open_dataset(f"cub:{base}", split="val")

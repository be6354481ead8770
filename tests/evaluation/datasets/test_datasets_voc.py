from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitcam.evaluation.datasets import open_dataset
from vitcam.types import Box

MASK = np.zeros((6, 8), dtype=np.uint8)
MASK[1:3, 2:5] = 8  # cat
MASK[3:5, 0:2] = 12  # dog
MASK[0] = 255  # void


def build(root, photograph, annotation, write, palette_mask, year=2012):
    base = root / "VOCdevkit" / f"VOC{year}"
    for id in ("2008_1", "2008_2", "2008_3"):
        photograph(base / "JPEGImages" / f"{id}.jpg")
    annotation(base / "Annotations" / "2008_1.xml", [("cat", 3, 2, 5, 3), ("cat", 1, 1, 8, 6)])
    annotation(base / "Annotations" / "2008_2.xml", [("dog", 1, 4, 2, 5), ("cat", 3, 2, 5, 3)])
    annotation(base / "Annotations" / "2008_3.xml", [])
    palette_mask(base / "SegmentationClass" / "2008_1.png", MASK)
    palette_mask(base / "SegmentationClass" / "2008_2.png", MASK)
    write(base / "ImageSets/Main/val.txt", "2008_1\n2008_2\n2008_3\n")
    write(base / "ImageSets/Segmentation/val.txt", "2008_2\n")
    return base


@pytest.fixture
def base(tmp_path, photograph, annotation, write, palette_mask):
    return build(tmp_path, photograph, annotation, write, palette_mask)


@pytest.mark.parametrize("above", [0, 1, 2])
def test_one_class_only_is_the_default(base, above):
    root = [base, *base.parents][above]
    dataset = open_dataset(f"voc:{root}")
    assert len(dataset.classes) == 20
    assert dataset.ids == ("2008_1",)
    assert dataset.notes == (
        "2 of 3 photographs are left out: no object, or objects of several classes (--multi-label or "
        "multi_label=True keeps those)",
    )
    (sample,) = dataset
    assert [dataset.classes[label].name for label in sample.labels] == ["cat"]
    # 1-based with both ends inclusive: the second box is the whole photograph
    assert sample.boxes == (Box(2, 1, 5, 3), Box(0, 0, 8, 6))
    assert (sample.width, sample.height) == (8, 6)
    assert sample.image().size == (8, 6)


def test_multi_label(base):
    dataset = open_dataset(f"voc:{base}", multi_label=True)
    assert dataset.ids == ("2008_1", "2008_2")
    assert dataset.notes == ("1 of 3 photographs are left out: no object",)
    sample = dataset[1]
    assert sample.labels == (7, 11)
    assert sample.box_labels == (11, 7)
    assert sample.boxes_of(7) == (Box(2, 1, 5, 3),)


def test_masks(base):
    sample = open_dataset(f"voc:{base}", image_set="Segmentation/val", multi_label=True)[0]
    assert sample.mask(7).dtype == bool
    np.testing.assert_array_equal(sample.mask(7), MASK == 8)
    np.testing.assert_array_equal(sample.mask(11), MASK == 12)
    np.testing.assert_array_equal(sample.mask(), (MASK == 8) | (MASK == 12))
    np.testing.assert_array_equal(sample.void(), MASK == 255)


def test_photographs_without_a_mask(base):
    (base / "SegmentationClass" / "2008_1.png").unlink()
    sample = open_dataset(f"voc:{base}")[0]
    assert sample.mask() is None
    assert sample.void() is None


def test_mask_box_and_photograph_agree_on_pixels(base):
    sample = open_dataset(f"voc:{base}")[0]
    box = sample.boxes[0]
    inside = np.zeros((6, 8), dtype=bool)
    inside[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
    np.testing.assert_array_equal(sample.mask(), inside)


def test_several_years(tmp_path, base, photograph, annotation, write, palette_mask, complains):
    build(tmp_path, photograph, annotation, write, palette_mask, year=2007)
    with complains("VOC2007", "VOC2012", "year"):
        open_dataset(f"voc:{tmp_path}")
    dataset = open_dataset(f"voc:{tmp_path}", year=2007)
    assert dataset[0].path == tmp_path / "VOCdevkit/VOC2007/JPEGImages/2008_1.jpg"


def test_missing_folders_are_all_named(tmp_path, complains):
    with complains(tmp_path / "JPEGImages", tmp_path / "Annotations", tmp_path / "ImageSets/Main/val.txt"):
        open_dataset(f"voc:{tmp_path}")


def test_a_missing_list_is_named(base, complains):
    with complains(base / "ImageSets/Main/test.txt"):
        open_dataset(f"voc:{base}", image_set="Main/test")


@pytest.mark.parametrize("file", ["JPEGImages/2008_2.jpg", "Annotations/2008_2.xml"])
def test_a_missing_file_is_named(base, complains, file):
    (base / file).unlink()
    with complains("1 of the 3 files", base / file):
        open_dataset(f"voc:{base}")


def test_classes_of_ones_own_are_refused(base, annotation, complains):
    annotation(base / "Annotations/2008_1.xml", [("aardvark", 1, 1, 2, 2)])
    with complains(base / "Annotations/2008_1.xml", "'aardvark'", "folder:PATH"):
        open_dataset(f"voc:{base}")


def test_only_photographs_of_several_classes_leave_nothing(base, complains):
    with complains("no photograph", "1 of 1 photographs are left out", "multi_label=True"):
        open_dataset(f"voc:{base}", image_set="Segmentation/val")


def test_a_truncated_mask_is_named(base, complains):
    path = base / "SegmentationClass/2008_1.png"
    path.write_bytes(path.read_bytes()[:-40])
    sample = open_dataset(f"voc:{base}")[0]
    with complains(path, "truncated"):
        sample.mask()


def test_a_mask_without_its_palette_is_refused(base, complains):
    path = base / "SegmentationClass/2008_1.png"
    Image.open(path).convert("RGB").save(path)
    sample = open_dataset(f"voc:{base}")[0]
    with complains(path, "palette", "mode RGB"):
        sample.mask()


def test_a_mask_of_another_size_is_refused(base, palette_mask, complains):
    palette_mask(base / "SegmentationClass/2008_1.png", np.zeros((6, 9)))
    sample = open_dataset(f"voc:{base}")[0]
    with complains("'2008_1'", "9×6", "8×6"):
        sample.mask()

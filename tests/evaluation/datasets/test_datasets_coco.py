from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from vitcam.evaluation.datasets import open_dataset
from vitcam.evaluation.datasets.coco_masks import decompress
from vitcam.types import Box

coco_mask = pytest.importorskip("pycocotools.mask", reason="COCO's masks need pycocotools")

DOG, CAT = 3, 90  # ids with holes, as COCO has them; listed out of order
SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]


def run_lengths(mask: np.ndarray) -> list[int]:
    """Column by column, runs of zeros and ones in turn, zeros first."""
    runs, current = [0], 0
    for pixel in mask.T.flatten().tolist():
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    return runs


CROWD = np.zeros((6, 8), dtype=np.uint8)
CROWD[0:3, 5:8] = 1


def content() -> dict:
    def image(id):
        return {"id": id, "file_name": f"{id:012d}.jpg", "width": 8, "height": 6}

    def annotation(id, image_id, category, box, segmentation, crowd=0):
        return {
            "id": id,
            "image_id": image_id,
            "category_id": category,
            "bbox": box,
            "segmentation": segmentation,
            "iscrowd": crowd,
            "area": 1,
        }

    return {
        "images": [image(9), image(4), image(5)],
        "annotations": [
            annotation(1, 9, DOG, [2, 1, 4, 3], SQUARE),
            annotation(2, 9, DOG, [5, 0, 3, 3], {"size": [6, 8], "counts": run_lengths(CROWD)}, crowd=1),
            annotation(3, 4, DOG, [0.5, 0, 1, 1], SQUARE),
            annotation(4, 4, CAT, [0, 0, 2, 2.5], SQUARE),
        ],
        "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
    }


@pytest.fixture
def root(tmp_path, photograph, write):
    for id in (9, 4, 5):
        photograph(tmp_path / "val2017" / f"{id:012d}.jpg")
    write(tmp_path / "annotations/instances_val2017.json", json.dumps(content()))
    return tmp_path


def rewrite(root, change):
    changed = content()
    change(changed)
    (root / "annotations/instances_val2017.json").write_text(json.dumps(changed))


def square() -> np.ndarray:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:6] = True
    return mask


def test_labels_and_boxes(root):
    dataset = open_dataset(f"coco:{root}")
    assert [item.name for item in dataset.classes] == ["dog", "cat"]  # in the order of their ids
    assert dataset.ids == ("000000000004", "000000000009")
    assert dataset.notes == ("1 of 3 photographs are left out: no object",)
    both, dog = dataset
    assert both.labels == (0, 1)
    assert both.boxes == (Box(0.5, 0, 1.5, 1), Box(0, 0, 2, 2.5))
    assert both.box_labels == (0, 1)
    assert dog.labels == (0,)
    assert dog.boxes == (Box(2, 1, 6, 4),)  # the crowd gives none
    assert (dog.width, dog.height) == (8, 6)
    assert dog.image().size == (8, 6)


def test_one_class_only(root):
    assert open_dataset(f"coco:{root}", multi_label=False).ids == ("000000000009",)


def test_polygons_and_crowds(root):
    dog = pickle.loads(pickle.dumps(open_dataset(f"coco:{root}")[1]))
    np.testing.assert_array_equal(dog.mask(), square())
    np.testing.assert_array_equal(dog.void(), (CROWD == 1) & ~square())
    assert not dog.mask(1).any()
    assert not dog.void(1).any()


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths(root, compressed):
    mask = np.random.default_rng(1).integers(0, 2, (6, 8), dtype=np.uint8)
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode() if compressed else run_lengths(mask)
    rewrite(root, lambda c: c["annotations"][0].update(segmentation={"size": [6, 8], "counts": counts}))
    np.testing.assert_array_equal(open_dataset(f"coco:{root}")[1].mask(), mask == 1)


def test_decompression_is_that_of_coco():
    generator = np.random.default_rng(2)
    for density in (0.001, 0.05, 0.5):
        mask = (generator.random((97, 113)) < density).astype(np.uint8)
        assert decompress(coco_mask.encode(np.asfortranarray(mask))["counts"].decode()) == run_lengths(mask)


def test_missing_files_are_named(tmp_path, complains):
    with complains(tmp_path / "annotations/instances_val2014.json", tmp_path / "val2014"):
        open_dataset(f"coco:{tmp_path}", split="val2014")


def test_a_missing_photograph_is_named(root, complains):
    path = root / "val2017/000000000005.jpg"
    path.unlink()
    with complains("1 of the 3 files", path):
        open_dataset(f"coco:{root}")


def test_a_truncated_json_is_refused(root, complains):
    path = root / "annotations/instances_val2017.json"
    path.write_text(path.read_text()[:-50])
    with complains(f"{path}, line 1, column", "truncated"):
        open_dataset(f"coco:{root}")


def test_bytes_that_are_no_text_are_refused(root, complains):
    path = root / "annotations/instances_val2017.json"
    path.write_bytes(b'{"a": "\xff"}')
    with complains(path, "can't be read as JSON"):
        open_dataset(f"coco:{root}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.pop("annotations"), "has no 'annotations'"),
        (lambda c: c.update(images={}), "'images' must be a list"),
        (lambda c: c["annotations"][1].pop("bbox"), "annotations[1] has no 'bbox'"),
        (
            lambda c: c["annotations"][1].update(bbox=[1, 2, 3]),
            "annotations[1]: 'bbox' must be [x, y, width, height]",
        ),
        (
            lambda c: c["annotations"][1].update(bbox=[1, 2, float("nan"), 1]),
            "annotations[1]: 'bbox' must be",
        ),
        (
            lambda c: c["annotations"][1].update(bbox=[1, 2, -3, 1]),
            "annotations[1]: a box must have left ≤ right",
        ),
        (
            lambda c: c["annotations"][0].update(category_id=1),
            "annotations[0]: category_id 1 isn't one of the file's 2",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation="x"),
            "'segmentation' must be a list or an object, got 'x'",
        ),
        (lambda c: c["images"][2].update(width="8"), "images[2]: 'width' must be a whole number, got '8'"),
        (lambda c: c["categories"][0].update(name=7), "categories[0]: 'name' must be a text, got 7"),
    ],
)
def test_a_malformed_json_is_refused(root, complains, change, problem):
    rewrite(root, change)
    with complains(root / "annotations/instances_val2017.json", problem):
        open_dataset(f"coco:{root}")


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([], "must be polygons"),
        ([[1, 2, 3, 4]], "must be polygons"),
        ([[1, 2, 3, 4, 5, 6, 7]], "must be polygons"),
        ([[1, 2, 3, 4, 5, "6"]], "must be polygons"),
        ({"size": [6, 8], "counts": [40]}, "must be run lengths"),
        ({"size": [6, 8], "counts": [60, -12]}, "must be run lengths"),
        ({"size": [8, 6], "counts": [48]}, "must be run lengths"),
        ({"size": [6, 8], "counts": "53"}, "must be run lengths"),
        ({"size": [6, 8], "counts": "é€"}, "must be run lengths"),
        ({"size": [6, 8]}, "must be run lengths"),
    ],
)
def test_a_malformed_mask_is_refused(root, complains, segmentation, problem):
    rewrite(root, lambda c: c["annotations"][0].update(segmentation=segmentation))
    sample = open_dataset(f"coco:{root}")[1]
    with complains("annotations[0]", problem):
        sample.mask()

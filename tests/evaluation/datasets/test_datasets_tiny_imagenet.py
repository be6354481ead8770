from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vitcam.evaluation.datasets import DatasetClass, match_classes, open_dataset
from vitcam.types import Box

SHARED = Path(os.environ.get("VITCAM_SHARED", Path(__file__).parents[3] / ".." / "shared"))
FISH, FROG = "n01443537", "n01641577"


@pytest.fixture
def root(tmp_path, photograph, write):
    root = tmp_path / "tiny-imagenet-200"
    photograph(root / "val/images/val_0.JPEG", 64, 64)
    photograph(root / "val/images/val_1.JPEG", 64, 64)
    write(
        root / "val/val_annotations.txt",
        f"val_1.JPEG\t{FROG}\t0\t0\t63\t63\nval_0.JPEG\t{FISH}\t4\t0\t60\t0\n",
    )
    write(root / "wnids.txt", f"{FROG}\n{FISH}\n")
    write(root / "words.txt", f"{FISH}\tgoldfish, Carassius auratus\n{FROG}\tbullfrog\nn00001740\tentity\n")
    return root


@pytest.mark.parametrize("above", [False, True])
def test_boxes_have_both_ends_inclusive(root, above):
    dataset = open_dataset(f"tiny-imagenet:{root.parent if above else root}")
    assert dataset.classes == (
        DatasetClass("goldfish, Carassius auratus", FISH),
        DatasetClass("bullfrog", FROG),
    )
    assert dataset.ids == ("val_1.JPEG", "val_0.JPEG")
    assert dataset[0].labels == (1,)
    assert dataset[0].boxes == (Box(0, 0, 64, 64),)  # the whole photograph
    assert dataset[1].boxes == (Box(4, 0, 61, 1),)
    assert dataset[1].image().size == (64, 64)


def test_all_that_is_missing_is_named(tmp_path, complains):
    names = ("val/images", "val/val_annotations.txt", "wnids.txt", "words.txt")
    with complains(*(tmp_path / name for name in names)):
        open_dataset(f"tiny-imagenet:{tmp_path}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"val_1.JPEG\t{FROG}\t0\t0", "line 1: expected 6 fields"),
        ("val_1.JPEG\tn00000000\t0\t0\t1\t1", "line 1: class 'n00000000' isn't one of the 2"),
        (f"val_1.JPEG\t{FROG}\t0\t0\t1\tx", "line 1: bottom must be a number, got 'x'"),
        (f"val_1.JPEG\t{FROG}\t9\t0\t1\t1", "line 1: a box must have left ≤ right"),
    ],
)
def test_malformed_annotations_are_refused(root, write, complains, line, problem):
    path = root / "val/val_annotations.txt"
    write(path, line)
    with complains(path, problem):
        open_dataset(f"tiny-imagenet:{root}")


def test_a_missing_photograph_is_named(root, complains):
    (root / "val/images/val_0.JPEG").unlink()
    with complains("1 of the 2 files", root / "val/images/val_0.JPEG"):
        open_dataset(f"tiny-imagenet:{root}")


def test_the_real_one():
    folder = SHARED / "data" / "tiny_imagenet_val"
    if not folder.exists():
        pytest.skip(f"the shared copy of Tiny-ImageNet is not at {folder}")
    dataset = open_dataset(f"tiny-imagenet:{folder}")
    lines = [line.split("\t") for line in (folder / "val" / "val_annotations.txt").read_text().splitlines()]
    assert dataset.ids == tuple(line[0] for line in lines)
    assert [dataset.classes[sample.labels[0]].wordnet_id for sample in dataset] == [line[1] for line in lines]
    assert all(
        0 <= box.left < box.right <= 64 and 0 <= box.top < box.bottom <= 64
        for s in dataset
        for box in s.boxes
    )
    assert dataset[0].image().size == (64, 64)

    labels = SHARED / "models" / "labels.json"
    if not labels.exists():
        pytest.skip(f"the shared labels of a model are not at {labels}; all that needs none of them holds")
    model = json.loads(labels.read_text())
    match = match_classes(
        dataset.classes, [item["name"] for item in model], [item["wordnet_ids"] for item in model]
    )
    for item, index in zip(dataset.classes, match.model_indices, strict=True):
        owners = [i for i, candidate in enumerate(model) if item.wordnet_id in candidate["wordnet_ids"]]
        assert owners == ([] if index is None else [index])
    assert match.sentence == f"{match.matched} of 200 classes matched by WordNet id"
    assert match.matched > 50

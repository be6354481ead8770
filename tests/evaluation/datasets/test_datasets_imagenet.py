from __future__ import annotations

import pickle
import shutil

import pytest

from vitcam.evaluation.datasets import DatasetClass, open_dataset
from vitcam.types import Box

IMAGES = "Data/CLS-LOC/val"
ANNOTATIONS = "Annotations/CLS-LOC/val"
FISH, BIRD, DOG = "n01440764", "n01530575", "n02084071"
NAMES = f"{FISH} tench, Tinca tinca\n{BIRD} brambling\n{DOG} dog\n"
ONE, TWO = "ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"


@pytest.fixture
def in_folders(tmp_path, photograph, annotation):
    """As the authors have it: class folders, .jpeg, XML flat. The second photograph sorts into the first folder."""
    root = tmp_path / "ILSVRC"
    photograph(root / IMAGES / FISH / f"{TWO}.jpeg", colour=(200, 0, 0))
    photograph(root / IMAGES / BIRD / f"{ONE}.jpeg", colour=(0, 200, 0))
    annotation(
        root / ANNOTATIONS / f"{TWO}.xml", [(FISH, 1, 2, 5, 4), (BIRD, 0, 0, 1, 1), (FISH, 0, 0, 7, 5)]
    )
    annotation(root / ANNOTATIONS / f"{ONE}.xml", [(BIRD, 0, 0, 8, 6)])
    return root


@pytest.fixture
def flat(tmp_path, photograph, annotation):
    """As ImageNet has it: flat, .JPEG; here with the XML in class folders."""
    root = tmp_path / "kaggle" / "ILSVRC"
    photograph(root / IMAGES / f"{ONE}.JPEG")
    photograph(root / IMAGES / f"{TWO}.JPEG")
    annotation(root / ANNOTATIONS / BIRD / f"{ONE}.xml", [(BIRD, 0, 0, 8, 6)])
    annotation(root / ANNOTATIONS / FISH / f"{TWO}.xml", [(FISH, 1, 2, 5, 4)])
    return root


def test_class_folders(in_folders):
    dataset = open_dataset(f"imagenet:{in_folders}")
    assert dataset.classes == (DatasetClass(FISH, FISH), DatasetClass(BIRD, BIRD))
    assert dataset.ids == (ONE, TWO)
    bird, fish = dataset
    assert bird.labels == (1,)
    assert fish.labels == (0,)
    assert fish.boxes == (Box(1, 2, 5, 4), Box(0, 0, 7, 5))  # as written, the bird's left out
    assert fish.box_labels == (0, 0)
    assert (fish.width, fish.height) == (8, 6)
    assert fish.mask() is None
    assert fish.path == in_folders / IMAGES / FISH / f"{TWO}.jpeg"
    assert fish.image().mode == "RGB"
    assert fish.image().getpixel((0, 0))[0] > 150


def test_names_from_the_mapping_bring_all_classes(in_folders, write):
    write(in_folders / "LOC_synset_mapping.txt", NAMES)
    dataset = open_dataset(f"imagenet:{in_folders}")
    assert dataset.classes == (
        DatasetClass("tench, Tinca tinca", FISH),
        DatasetClass("brambling", BIRD),
        DatasetClass("dog", DOG),
    )


@pytest.mark.parametrize("at_root", [True, False])
def test_flat_with_the_labels_of_the_csv(flat, write, at_root):
    root = flat.parent if at_root else flat
    write(
        flat.parent / "LOC_val_solution.csv",
        f"ImageId,PredictionString\n{TWO},{FISH} 1 2 5 4 \n{ONE},{BIRD} 0 0 8 6 \n",
    )
    write(flat.parent / "LOC_synset_mapping.txt", NAMES)
    dataset = open_dataset(f"imagenet:{root}")
    assert [sample.labels for sample in dataset] == [(1,), (0,)]
    assert dataset[1].boxes == (Box(1, 2, 5, 4),)


def test_flat_with_the_labels_of_the_xml(flat):
    dataset = open_dataset(f"imagenet:{flat}")
    assert [item.wordnet_id for item in dataset.classes] == [FISH, BIRD]
    assert [sample.labels for sample in dataset] == [(1,), (0,)]


def test_xml_is_read_on_access_when_the_classes_are_known(flat, write, complains):
    write(flat / "LOC_synset_mapping.txt", NAMES)
    broken = flat / ANNOTATIONS / BIRD / f"{ONE}.xml"
    broken.write_text(broken.read_text()[:60])
    dataset = open_dataset(f"imagenet:{flat}")
    assert dataset[1].labels == (0,)
    with complains(broken, "truncated"):
        dataset[0]


def test_boxes_of_the_csv_when_there_is_no_xml(in_folders, write):
    shutil.rmtree(in_folders / "Annotations")
    write(
        in_folders / "LOC_val_solution.csv",
        f"ImageId,PredictionString\n{ONE},{BIRD} 0 0 8 6\n{TWO},{FISH} 1 2 5 4 {FISH} 0 1 2 3\n",
    )
    fish = open_dataset(f"imagenet:{in_folders}")[1]
    assert fish.boxes == (Box(1, 2, 5, 4), Box(0, 1, 2, 3))
    assert fish.labels == (0,)
    assert fish.width is None


def test_pickled_dataset_and_sample_are_the_same(in_folders):
    dataset = open_dataset(f"imagenet:{in_folders}")
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0] == dataset[0]
    assert again.fingerprint == dataset.fingerprint
    assert pickle.loads(pickle.dumps(dataset[1])).image().size == (8, 6)


def test_fingerprint_follows_the_labels_and_not_the_place(in_folders, tmp_path):
    first = open_dataset(f"imagenet:{in_folders}").fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(in_folders, moved)
    assert open_dataset(f"imagenet:{moved}").fingerprint == first
    (moved / IMAGES / FISH / f"{TWO}.jpeg").rename(moved / IMAGES / BIRD / f"{TWO}.jpeg")
    assert open_dataset(f"imagenet:{moved}").fingerprint != first


def test_missing_photographs_are_named(tmp_path, complains):
    with complains(tmp_path / IMAGES, "nothing is downloaded"):
        open_dataset(f"imagenet:{tmp_path}")


def test_missing_boxes_are_named(in_folders, complains):
    shutil.rmtree(in_folders / "Annotations")
    with complains(
        in_folders / ANNOTATIONS, in_folders / "LOC_val_solution.csv", f"folder:{in_folders / IMAGES}"
    ):
        open_dataset(f"imagenet:{in_folders}")


def test_a_missing_annotation_is_named(in_folders, complains):
    (in_folders / ANNOTATIONS / f"{ONE}.xml").unlink()
    with complains("1 of the 2 files", in_folders / ANNOTATIONS / f"{ONE}.xml"):
        open_dataset(f"imagenet:{in_folders}")


def test_an_empty_folder_is_no_dataset(in_folders, complains):
    shutil.rmtree(in_folders / IMAGES)
    (in_folders / IMAGES).mkdir()
    with complains(in_folders, "no photograph"):
        open_dataset(f"imagenet:{in_folders}")


def test_a_truncated_csv_lacks_photographs(flat, write, complains):
    write(flat / "LOC_val_solution.csv", f"ImageId,PredictionString\n{TWO},{FISH} 1 2 5 4\n")
    with complains(flat / "LOC_val_solution.csv", ONE, "truncated"):
        open_dataset(f"imagenet:{flat}")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f"{ONE},{FISH} 1 2 5", "line 3: PredictionString must be groups"),
        (f"{ONE},tench 1 2 5 4", "line 3: PredictionString must be groups"),
        (f"{ONE},", "line 3: PredictionString must be groups"),
        (f"{ONE},{FISH} 1 2 x 4", "line 3: PredictionString must be a number, got 'x'"),
        (f"{ONE},{FISH} 5 2 1 4", "line 3: a box must have left ≤ right"),
        (ONE, "line 3: expected 2 fields"),
    ],
)
def test_a_malformed_csv_is_refused(flat, write, complains, row, problem):
    path = flat / "LOC_val_solution.csv"
    write(path, f"ImageId,PredictionString\n{TWO},{FISH} 1 2 5 4\n{row}\n")
    with complains(f"{path}, {problem}"):
        open_dataset(f"imagenet:{flat}")


def test_another_csv_is_refused(flat, write, complains):
    write(flat / "LOC_val_solution.csv", "file,label\na,b\n")
    with complains("line 1", "ImageId, PredictionString", "got file, label"):
        open_dataset(f"imagenet:{flat}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not well-formed XML"),
        ("<annotation><size>", "not well-formed XML"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        ("<annotation/>", "<size><width> is missing"),
        (
            "<annotation><size><width>8</width><height>six</height></size></annotation>",
            "height must be a number",
        ),
        ("<annotation><size><width>0</width><height>6</height></size></annotation>", "at least 1 pixel"),
        (
            "<annotation><size><width>8</width><height>6</height></size><object/></annotation>",
            "object 1: the field <name>",
        ),
        (
            f"<annotation><size><width>8</width><height>6</height></size><object><name>{BIRD}</name><bndbox>"
            "<xmin>1</xmin><ymin>1</ymin><xmax>nan</xmax><ymax>2</ymax></bndbox></object></annotation>",
            "object 1: xmax must be a number, got 'nan'",
        ),
        (
            f"<annotation><size><width>8</width><height>6</height></size><object><name>{BIRD}</name><bndbox>"
            "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax></bndbox></object></annotation>",
            "object 1: the field <bndbox><ymax> is missing",
        ),
    ],
)
def test_a_malformed_annotation_is_refused(in_folders, write, complains, text, problem):
    path = in_folders / ANNOTATIONS / f"{ONE}.xml"
    write(path, text)
    dataset = open_dataset(f"imagenet:{in_folders}")
    with complains(path, problem):
        dataset[0]


def test_an_annotation_that_vanishes_is_named(in_folders, complains):
    dataset = open_dataset(f"imagenet:{in_folders}")
    path = in_folders / ANNOTATIONS / f"{ONE}.xml"
    path.unlink()
    with complains(path, "can't be read"):
        dataset[0]


def test_without_an_object_there_is_no_label(flat, annotation, complains):
    path = flat / ANNOTATIONS / BIRD / f"{ONE}.xml"
    annotation(path, [])
    with complains(path, "no object"):
        open_dataset(f"imagenet:{flat}")


def test_class_folders_must_be_wordnet_ids(in_folders, complains):
    (in_folders / IMAGES / FISH).rename(in_folders / IMAGES / "tench")
    with complains("tench", "WordNet id"):
        open_dataset(f"imagenet:{in_folders}")


def test_a_label_outside_the_mapping_is_refused(in_folders, write, complains):
    write(in_folders / "LOC_synset_mapping.txt", f"{FISH} tench\n")
    with complains(ONE, BIRD, in_folders / "LOC_synset_mapping.txt"):
        open_dataset(f"imagenet:{in_folders}")


def test_an_object_outside_the_mapping_is_refused(flat, write, complains):
    write(flat / "LOC_synset_mapping.txt", f"{FISH} tench\n")
    dataset = open_dataset(f"imagenet:{flat}")
    with complains(flat / ANNOTATIONS / BIRD / f"{ONE}.xml", BIRD, "1 classes"):
        dataset[0]


@pytest.mark.parametrize(
    ("text", "problem"), [(FISH, "expected 2 fields"), ("tench n01440764", "expected a WordNet id")]
)
def test_a_malformed_mapping_is_refused(in_folders, write, complains, text, problem):
    path = in_folders / "LOC_synset_mapping.txt"
    write(path, text)
    with complains(f"{path}, line 1", problem):
        open_dataset(f"imagenet:{in_folders}")


def test_a_photograph_in_two_folders_is_refused(in_folders, photograph, complains):
    photograph(in_folders / IMAGES / FISH / f"{ONE}.jpeg")
    with complains("more than once", ONE):
        open_dataset(f"imagenet:{in_folders}")

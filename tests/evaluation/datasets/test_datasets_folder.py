from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import DatasetError, ImageError
from vitcam.evaluation.datasets import DatasetClass, open_dataset
from vitcam.evaluation.datasets.pascal_xml import read_annotation
from vitcam.evaluation.datasets.photographs import open_as_stored, read_grey
from vitcam.types import Box


@pytest.fixture
def root(tmp_path, photograph):
    for name in ("n02084071/a.jpg", "cat/deep/b.PNG", "cat/a.jpg", "cat/.hidden.jpg", ".trash/x.jpg"):
        photograph(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no photograph")
    return tmp_path


def test_class_folders(root):
    dataset = open_dataset(f"folder:{root}")
    assert dataset.classes == (DatasetClass("cat"), DatasetClass("n02084071", "n02084071"))
    assert dataset.ids == ("cat/a.jpg", "cat/deep/b.PNG", "n02084071/a.jpg")
    assert [sample.labels for sample in dataset] == [(0,), (0,), (1,)]
    assert all(sample.boxes == () for sample in dataset)
    assert dataset[0].image().size == (8, 6)
    assert dataset.notes == ()


def test_boxes_with_and_without_labels(root, write):
    write(root / "boxes.csv", "file,left,top,right,bottom\ncat/a.jpg,1,2,3.5,4\ncat/a.jpg,0,0,8,6\n")
    assert open_dataset(f"folder:{root}")[0].boxes == (Box(1, 2, 3.5, 4), Box(0, 0, 8, 6))
    write(
        root / "more.csv", "label,file,left,top,right,bottom\ndog,cat/a.jpg,1,2,3,4\ncat,cat/a.jpg,0,0,8,6\n"
    )
    sample = open_dataset(f"folder:{root}", boxes="more.csv")[0]
    assert sample.boxes == (Box(0, 0, 8, 6),)
    assert sample.box_labels == (0,)


def test_labels_of_the_csv_alone(tmp_path, photograph, write):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photograph(tmp_path / name)
    write(
        tmp_path / "boxes.csv",
        "file,left,top,right,bottom,label\nb.jpg,0,0,1,1,dog\nb.jpg,1,1,2,2,cat\na.jpg,0,0,3,3,dog\n",
    )
    dataset = open_dataset(f"folder:{tmp_path}")
    assert [item.name for item in dataset.classes] == ["cat", "dog"]
    assert dataset.ids == ("a.jpg", "b.jpg")
    assert dataset[1].labels == (0, 1)
    assert dataset[1].boxes_of(0) == (Box(1, 1, 2, 2),)
    assert "1 of the photographs" in dataset.notes[0]
    assert str(tmp_path / "boxes.csv") in dataset.notes[0]


def test_photographs_outside_class_folders_are_noted(root, photograph):
    photograph(root / "stray.jpg")
    dataset = open_dataset(f"folder:{root}")
    assert len(dataset) == 3
    assert dataset.notes == (
        f"left out, being directly in {root} and in no class folder: 1 of its photographs",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected a header"),
        ("file,left,top,right\n", "without bottom"),
        ("file,left,top,right,bottom\ncat/a.jpg,1,2,3\n", "line 2: expected 5 fields"),
        ("file,left,top,right,bottom\ncat/z.jpg,1,2,3,4\n", "line 2: there is no photograph"),
        ("file,left,top,right,bottom\ncat/a.jpg,1,2,?,4\n", "line 2: right must be a number, got '?'"),
        ("file,left,top,right,bottom\ncat/a.jpg,1,2,3,1\n", "line 2: a box must have"),
        ("file,left,top,right,bottom\n\n\ncat/a.jpg,inf,2,3,1\n", "line 4: left must be a number"),
    ],
)
def test_a_malformed_csv_is_refused(root, write, complains, text, problem):
    write(root / "boxes.csv", text)
    with complains(root / "boxes.csv", problem):
        open_dataset(f"folder:{root}")


def test_flat_photographs_need_labels(tmp_path, photograph, write, complains):
    photograph(tmp_path / "a.jpg")
    with complains("no photograph to evaluate", "no class folder", tmp_path / "boxes.csv"):
        open_dataset(f"folder:{tmp_path}")
    write(tmp_path / "boxes.csv", "file,left,top,right,bottom\na.jpg,1,2,3,4\n")
    with complains(tmp_path / "boxes.csv", "line 2", "'label'"):
        open_dataset(f"folder:{tmp_path}")


def test_a_csv_that_was_asked_for_must_be_there(root, complains):
    with complains(root / "none.csv"):
        open_dataset(f"folder:{root}", boxes="none.csv")


def test_a_file_is_no_folder(root, complains):
    with complains("got the file", root / "cat/a.jpg"):
        open_dataset(f"folder:{root / 'cat/a.jpg'}")


def test_a_damaged_photograph_is_an_image_error(root):
    (root / "cat/a.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        open_dataset(f"folder:{root}")[0].image()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_public_datasets_are_not_turned_and_own_photographs_are(tmp_path, orientation):
    pixels = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "cat").mkdir()
    path = tmp_path / "cat" / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    np.testing.assert_array_equal(np.asarray(open_as_stored(path)), pixels)
    upright = open_dataset(f"folder:{tmp_path}")[0].image()
    assert upright.size == ((6, 8) if orientation >= 5 else (8, 6))
    assert (np.asarray(upright).tobytes() == pixels.tobytes()) == (orientation == 1)


def test_links_add_nothing_and_end(root):
    for name, target in (("loop", "."), ("up", ".."), ("cat/loop", ".."), ("again", "cat")):
        (root / name).symlink_to(target)
    assert open_dataset(f"folder:{root}").ids == ("cat/a.jpg", "cat/deep/b.PNG", "n02084071/a.jpg")


def test_classes_may_be_links_to_folders_elsewhere(tmp_path, photograph):
    photograph(tmp_path / "all" / "cat" / "a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to("../all/cat")
    assert open_dataset(f"folder:{tmp_path / 'root'}").ids == ("cat/a.jpg",)


def test_a_pipe_is_a_photograph_that_cannot_be_read(root):
    os.mkfifo(root / "cat" / "c.jpg")
    dataset = open_dataset(f"folder:{root}")
    assert dataset.ids[1] == "cat/c.jpg"
    with pytest.raises(ImageError, match=r"cat/c\.jpg is a named pipe; expected an image file"):
        dataset[1].image()


def test_pipes_instead_of_annotations(tmp_path):
    for name in ("a.xml", "a.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match=r"a\.xml is a named pipe; expected an XML file"):
        read_annotation(tmp_path / "a.xml")
    with pytest.raises(DatasetError, match=r"a\.png is a named pipe; expected an image file"):
        read_grey(tmp_path / "a.png")


def test_a_folder_that_cannot_be_listed_ends_it(root, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=f"{root} can't be listed: Permission denied"):
        open_dataset(f"folder:{root}")

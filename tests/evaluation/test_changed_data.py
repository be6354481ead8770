"""Photographs and annotations that change between two starts of one run are noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import miniature
import numpy as np
import polars as pl
import pytest
from PIL import Image

from vitcam.evaluation import RunError, Sample
from vitcam.evaluation.datasets.coco_masks import CocoSegmentation, Shape
from vitcam.evaluation.datasets.digests import annotation_digest, photograph_digest
from vitcam.evaluation.datasets.voc import _Segmentation
from vitcam.evaluation.store import RunFolder
from vitcam.types import Box

IDS = {"cat": "n01000001", "dog": "n01000002", "hen": "n01000003"}
IMAGES, ANNOTATIONS = "Data/CLS-LOC/val", "Annotations/CLS-LOC/val"


def write_xml(path, name, box):
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    path.write_text(
        "<annotation><size><width>40</width><height>40</height></size>"
        f"<object><name>{IDS[name]}</name><bndbox>{sides}</bndbox></object></annotation>"
    )


@pytest.fixture
def data(tmp_path):
    """As ImageNet has it: its XML is read only on access, and no list holds its boxes."""
    root, random = tmp_path / "ILSVRC", np.random.default_rng(0)
    for i in range(12):
        name = miniature.CLASSES[i % 3]
        photograph = root / IMAGES / IDS[name] / f"val_{i:02d}.jpeg"
        photograph.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(photograph)
        write_xml(root / ANNOTATIONS / f"val_{i:02d}.xml", name, (3, 3, 20, 20))
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{id} {name}\n" for name, id in IDS.items()))
    return root


def photograph_of(root, i):
    return next((root / IMAGES).rglob(f"val_{i:02d}.jpeg"))


@pytest.fixture
def started(run, data):
    """A run of it, interrupted after four images; what goes on with it."""

    def interrupt(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    def go_on(**changed):
        return run(**{"data": f"imagenet:{data}", **changed})

    with pytest.raises(KeyboardInterrupt):
        go_on(progress=interrupt)
    return go_on


def changed(count, first):
    return (
        rf"{count} of the 12 photographs of the run .*, or their boxes, masks or labels, have changed since the run "
        rf"began, the first '{first}'\. .*put the old ones back, or give another output folder"
    )


@pytest.mark.parametrize("i", [1, 10], ids=["measured", "not measured yet"])
def test_a_box_that_has_changed_is_refused(started, data, i):
    xml = data / ANNOTATIONS / f"val_{i:02d}.xml"
    content = xml.read_text()
    write_xml(xml, miniature.CLASSES[i % 3], (5, 5, 30, 30))
    with pytest.raises(RunError, match=changed(1, f"val_{i:02d}")):
        started()
    xml.write_text(content)
    numbers = started()["localization"]["agcam"]
    assert numbers["images"] + numbers["skipped_wrong"] == 12


@pytest.mark.parametrize("i", [1, 10], ids=["measured", "not measured yet"])
def test_a_photograph_of_another_size_is_refused(started, data, i):
    with photograph_of(data, i).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RunError, match=changed(1, f"val_{i:02d}")):
        started()


def test_all_that_has_changed_is_counted(started, data):
    for i in (2, 7, 9):
        write_xml(data / ANNOTATIONS / f"val_{i:02d}.xml", miniature.CLASSES[i % 3], (0, 0, 30, 30))
    with pytest.raises(RunError, match=changed(3, "val_02")):
        started()


def test_other_pixels_of_the_same_size_are_noticed_by_verify(started, data):
    told = []
    started(verify=True, tell=told.append)
    assert "4 measured photographs are what they were" in told
    path = photograph_of(data, 1)
    other = np.random.default_rng(9).integers(0, 256, (38, 38, 3), dtype=np.uint8)
    size = path.stat().st_size
    Image.fromarray(other).save(path)
    with path.open("ab") as file:
        file.write(b"\0" * (size - path.stat().st_size))
    assert path.stat().st_size == size
    with pytest.raises(
        RunError, match=r"1 of the 12 photographs of the run .* have changed since they were measured"
    ):
        started(verify=True)
    path.unlink()
    with pytest.raises(RunError, match="images: 12 in the run, 11 now"):
        started(verify=True)


def test_boxes_that_change_while_the_run_goes_on_are_noticed(run, data):
    def change(progress):
        if progress.done == 4:
            write_xml(data / ANNOTATIONS / "val_09.xml", "cat", (5, 5, 30, 30))

    with pytest.raises(
        RunError, match=r"1 photographs of the run .* have changed while the run was going on.*val_09"
    ):
        run(data=f"imagenet:{data}", progress=change)


def test_an_annotation_that_is_mended_is_measured(run, data):
    """What couldn't be measured may change, also time after time."""
    xml = data / ANNOTATIONS / "val_05.xml"
    for broken in ("<annot", "<annotation/>"):
        xml.write_text(broken)
        assert run(data=f"imagenet:{data}")["localization"]["agcam"]["unreadable"] == 1
    write_xml(xml, "hen", (5, 5, 30, 30))
    for _ in range(2):
        assert run(data=f"imagenet:{data}")["localization"]["agcam"]["unreadable"] == 0
    write_xml(xml, "hen", (6, 6, 30, 30))
    with pytest.raises(RunError, match=changed(1, "val_05")):
        run(data=f"imagenet:{data}")


def test_a_dataset_that_has_moved_is_the_same(started, data):
    moved = data.with_name("moved")
    shutil.move(data, moved)
    assert started(data=f"imagenet:{moved}", verify=True)["localization"]["agcam"]["unreadable"] == 0


def test_rows_say_what_they_were_made_from(run, folder, data):
    run("all", data=f"imagenet:{data}", steps=2)
    rows = folder.read()
    assert rows.select("annotation", "photograph").null_count().row(0) == (0, 0)
    by_image = rows.group_by("image").agg(pl.col("annotation", "photograph").n_unique())
    assert by_image["annotation"].to_list() == by_image["photograph"].to_list() == [1] * 12
    assert rows["photograph"].n_unique() == 12


def test_a_run_of_a_version_that_kept_no_digests_goes_on(started, folder):
    """Its rows are read, and it is said what can't be told."""
    shutil.rmtree(folder.path / "sources")
    for path in folder.rows.paths():
        rows = pl.read_parquet(path).drop("annotation", "photograph")
        rows.write_parquet(path.with_name("part-000000-0123abcd.parquet"))
        path.unlink()
    told = []
    numbers = started(tell=told.append, verify=True)["localization"]["agcam"]
    assert numbers["images"] + numbers["skipped_wrong"] == 12
    assert sum("kept no digests" in sentence for sentence in told) == 1
    assert "0 measured photographs are what they were; 4 others have rows without a digest" in told
    assert RunFolder(folder.path).read()["annotation"].null_count() == 16
    started(tell=told.append)
    assert sum("kept no digests" in sentence for sentence in told) == 1


class Masks:
    """A segmentation of somebody else's, in memory."""

    def __init__(self, left):
        self.left = left

    def mask(self, labels):
        mask = np.zeros((4, 4), dtype=bool)
        mask[:, : self.left] = True
        return mask

    def void(self, labels):
        return np.zeros((4, 4), dtype=bool)


def outline(left):
    shape = Shape(0, Box(0, 0, 4, 4), [[left, 0, 4, 0, 4, 4, left, 4]], False, "where")
    return CocoSegmentation(4, 4, (shape,))


def test_digests_follow_masks(tmp_path):
    path = tmp_path / "mask.png"

    def drawn(value):
        Image.new("L", (4, 4), value).save(path)
        return _Segmentation(path)

    for kind in (Masks, outline, drawn):
        one, same, other = (
            annotation_digest(Sample("a", Path("a.jpg"), (0,), segmentation=kind(value)))
            for value in (1, 1, 2)
        )
        assert one == same != other, kind


def test_digests_of_photographs_in_a_container_are_of_their_pixels():
    def sample(value):
        return Sample("a", None, (0,), pixels=lambda: Image.new("RGB", (4, 4), (value, 0, 0)))

    assert photograph_digest(sample(1)) == photograph_digest(sample(1)) != photograph_digest(sample(2))

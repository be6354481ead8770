"""What examples open: a dataset of the reader's own, miniatures of the known ones, and a finished run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from vitcam.evaluation import evaluate
from vitcam.photos import photo_path

# Of each shipped photograph the object's class, and its box as (left, top, right, bottom).
OBJECTS = {
    "cat": ("cat", (0, 0, 330, 300)),
    "cup": ("cup", (80, 10, 480, 380)),
    "astronaut": ("face", (60, 60, 160, 190)),
}


def make_data(root: Path) -> Path:
    """Everything, under the names that the docstrings' examples give it."""
    make_things(root / "things")
    make_voc(root / "VOC2012")
    make_cub(root / "CUB_200_2011")
    make_tiny_imagenet(root / "tiny-imagenet-200")
    make_imagenet(root / "ILSVRC")
    make_imagenet_seg(root / "gtsegs_ijcv.mat")
    make_coco(root / "coco")
    things = f"folder:{root / 'things'}"
    evaluate("localization", things, "embedded:photo", ["agcam", "rollout"], root / "run", limit=4)
    return root


def make_things(root: Path, copies: int = 4) -> Path:
    """The shipped photographs, and smaller copies of them, in class folders with a box each."""
    rows = []
    for name, (label, box) in OBJECTS.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        photograph = Image.open(photo_path(name))
        for copy in range(copies):
            scale = 1 - 0.15 * copy
            size = (round(photograph.width * scale), round(photograph.height * scale))
            file = f"{label}/{copy}.jpg"
            photograph.resize(size).save(root / file)
            rows.append((file, *(round(edge * scale) for edge in box)))
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "left", "top", "right", "bottom"), *rows])
    return root


def make_voc(root: Path) -> None:
    _photograph(root / "JPEGImages" / "2008_000001.jpg")
    _annotation(root / "Annotations" / "2008_000001.xml", "cat")
    _write(root / "ImageSets" / "Main" / "val.txt", "2008_000001\n")
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[1:4, 2:6] = 8  # cat
    palette = Image.fromarray(mask).convert("P")
    palette.putpalette(list(range(256)) * 3)
    (root / "SegmentationClass").mkdir()
    palette.save(root / "SegmentationClass" / "2008_000001.png")


def make_cub(root: Path) -> None:
    species = "001.Black_footed_Albatross"
    _photograph(root / "images" / species / "1.jpg")
    _write(root / "classes.txt", f"1 {species}\n")
    _write(root / "images.txt", f"1 {species}/1.jpg\n")
    _write(root / "image_class_labels.txt", "1 1\n")
    _write(root / "train_test_split.txt", "1 0\n")
    _write(root / "bounding_boxes.txt", "1 2.0 1.0 4.0 3.0\n")


def make_tiny_imagenet(root: Path) -> None:
    _photograph(root / "val" / "images" / "val_0.JPEG", 64, 64)
    _write(root / "val" / "val_annotations.txt", "val_0.JPEG\tn01443537\t0\t32\t44\t62\n")
    _write(root / "wnids.txt", "n01443537\n")
    _write(root / "words.txt", "n01443537\tgoldfish, Carassius auratus\n")


def make_imagenet(root: Path) -> None:
    name = "ILSVRC2012_val_00000001"
    _photograph(root / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG")
    _annotation(root / "Annotations" / "CLS-LOC" / "val" / f"{name}.xml", "n01440764")


def make_imagenet_seg(path: Path) -> None:
    """As MATLAB's v7.3 has it: columns of references to transposed arrays."""
    photograph, mask = np.zeros((6, 8, 3), dtype=np.uint8), np.zeros((6, 8), dtype=np.uint8)
    mask[1:4, 2:6] = 1
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        refs["photograph"], refs["mask"] = photograph.T, mask.T
        refs["target"] = np.array([[ord(letter)] for letter in "n01440764"], dtype=np.uint16)
        cell = refs.create_dataset("cell", (1, 1), dtype=h5py.ref_dtype)
        cell[0, 0] = refs["mask"].ref
        for column, name in (("img", "photograph"), ("gt", "cell"), ("target", "target")):
            file.create_dataset(f"value/{column}", (1, 1), dtype=h5py.ref_dtype)[0, 0] = refs[name].ref


def make_coco(root: Path) -> None:
    _photograph(root / "val2017" / "000000000139.jpg")
    corners = [[2, 1, 6, 1, 6, 4, 2, 4]]
    cat = {"id": 1, "image_id": 139, "category_id": 17, "bbox": [2, 1, 4, 3], "iscrowd": 0}
    content = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [{**cat, "segmentation": corners}],
    }
    _write(root / "annotations" / "instances_val2017.json", json.dumps(content))


def _photograph(path: Path, width: int = 8, height: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "teal").save(path)


def _annotation(path: Path, name: str) -> None:
    box = "<xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>4</ymax>"
    size = "<size><width>8</width><height>6</height><depth>3</depth></size>"
    _write(path, f"<annotation>{size}<object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

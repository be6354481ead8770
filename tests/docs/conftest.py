"""What the pages' examples find around them: a checkout, and data of their reader's own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from doc_pages import REPOSITORY
from PIL import Image

from vitcam.photos import photo_path

# Of each shipped photograph the object's class, and its box as (left, top, right, bottom).
OBJECTS = {
    "cat": ("cat", (0, 0, 330, 300)),
    "cup": ("cup", (80, 10, 480, 380)),
    "astronaut": ("face", (60, 60, 160, 190)),
}


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout, with a dataset ``things`` of the reader's own beside it."""
    for name in ("src", "examples", "docs", "README.md"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()  # a shell reads it, even where nothing is run
    make_things(tmp_path / "things")
    return tmp_path


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

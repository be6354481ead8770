"""Photographs for benchmarks: generated ones with boxes, and copies of those that come with vitcam."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vitcam.photos import PHOTOS, photo_path

SIZE = (500, 375)
"""Width and height of generated photographs, those of ImageNet's and Pascal VOC's."""


def generate_photographs(folder: Path, number: int) -> list[Path]:
    """Writes photographs: an ellipse before a shaded background, with noise.

    Example:
        >>> generate_photographs(Path("photographs"), 2)[0].name
        '000.jpg'
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_generate(folder / f"{i:03d}.jpg", np.random.default_rng(i)) for i in range(number)]


def box_of(number: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the ellipse in the photograph of this number."""
    random = np.random.default_rng(number)
    left, top = int(random.integers(10, 200)), int(random.integers(10, 150))
    return left, top, left + int(random.integers(100, 280)), top + int(random.integers(80, 200))


def write_dataset(folder: Path, photographs: Sequence[Path], class_names: Sequence[str]) -> None:
    """Lays photographs out as a dataset of the kind ``folder``, with their boxes.

    Args:
        folder: of the dataset.
        photographs: as ``generate_photographs`` wrote them.
        class_names: of each.
    """
    lines: list[tuple[object, ...]] = [("file", "left", "top", "right", "bottom")]
    for number, (photograph, name) in enumerate(zip(photographs, class_names, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photograph, folder / name / photograph.name)
        lines.append((f"{name}/{photograph.name}", *box_of(number)))
    with (folder / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def copy_photographs(folder: Path, number: int) -> None:
    """Copies the photographs that come with vitcam, over and over."""
    folder.mkdir(parents=True)
    for i in range(number):
        shutil.copy(photo_path(PHOTOS[i % len(PHOTOS)]), folder / f"{i:04d}.jpg")


def _generate(path: Path, random: np.random.Generator) -> Path:
    width, height = SIZE
    number = int(path.stem)
    shade = np.linspace(40, 200, width)[None, :, None] + np.linspace(-30, 30, height)[:, None, None]
    pixels = shade * random.uniform(0.5, 1.0, 3) + random.normal(0, 12, (height, width, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    colour = tuple(int(value) for value in random.integers(0, 256, 3))
    ImageDraw.Draw(image).ellipse(box_of(number), fill=colour)
    image.save(path, quality=90)
    return path

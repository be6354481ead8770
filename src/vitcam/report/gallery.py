"""The best, the median and the worst image of a method, and pictures of them where there are any."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vitcam.evaluation.rows import Task
from vitcam.report.run import Run
from vitcam.report.scores import Scores

RANKS = ("best", "median", "worst")
SIDE = 224
"""Of a thumbnail, in pixels at most."""

# Where each kind of dataset keeps the photograph with this id, relative to the folder that was given.
_PLACES = {
    "tiny-imagenet": ("val/images/{id}", "*/val/images/{id}"),
    "imagenet": ("Data/CLS-LOC/val/{id}.*", "Data/CLS-LOC/val/*/{id}.*", "*/Data/CLS-LOC/val/{id}.*"),
    "voc": ("JPEGImages/{id}.jpg", "*/JPEGImages/{id}.jpg", "*/*/JPEGImages/{id}.jpg"),
    "coco": ("{id}.jpg", "*/{id}.jpg", "*/*/{id}.jpg"),
    "folder": ("{id}",),
}


@dataclass(frozen=True)
class Example:
    """One image of the gallery: its rank among a method's, and its score."""

    rank: str
    image: str
    class_name: str
    score: float


def examples(scores: Scores, key: str, method: str, sign: int = 1) -> list[Example]:
    """The best, the median and the worst image of a method; fewer if there are fewer.

    Args:
        scores: of a task.
        key: the number that orders them.
        method: whose.
        sign: -1 if less is better.
    """
    values = scores.numbers[key][:, scores.methods.index(method)]
    order = [i for i in np.argsort(-sign * values, kind="stable") if np.isfinite(values[i])]
    if not order:
        return []
    chosen = dict(zip(RANKS, (order[0], order[len(order) // 2], order[-1]), strict=True))
    units = scores.units
    return [
        Example(rank, units["image"][int(i)], units["class_name"][int(i)] or "", float(values[i]))
        for rank, i in chosen.items()
        if len(order) >= len(RANKS) or rank == RANKS[0]
    ]


def thumbnail_stem(task: Task, method: str, image: str) -> str:
    """What a thumbnail in a run's ``gallery`` folder is called, without ``.png`` or ``.jpg``.

    Example:
        >>> thumbnail_stem("localization", "agcam", "n01/cat 1.jpg")
        'localization-agcam-n01_cat_1.jpg'
    """
    return "-".join(re.sub(r"[^\w.]+", "_", part) for part in (task, method, image))


def picture_of(run: Run, task: Task, method: str, image: str) -> tuple[str, bool] | None:
    """A picture of an image as a ``data:`` address, and whether it shows the map.

    A thumbnail that the run stored, or else the photograph, if the dataset is still where it was; None if
    there is neither.
    """
    stem = thumbnail_stem(task, method, image)
    for suffix in (".png", ".jpg"):
        address = _embedded(run.path / "gallery" / f"{stem}{suffix}")
        if address:
            return address, True
    photograph = find_photograph(run, image)
    address = _embedded(photograph) if photograph else None
    return (address, False) if address else None


def find_photograph(run: Run, image: str) -> Path | None:
    """The file of an image, if the dataset's folder is still there."""
    kind, _, folder = str(run.settings.get("data", "")).partition(":")
    root = Path(folder)
    if not folder or not root.is_dir() or Path(image).is_absolute() or ".." in Path(image).parts:
        return None
    for place in _PLACES.get(kind, ()):
        for found in root.glob(place.format(id=escape(image))):
            return found
    return None


def _embedded(file: Path) -> str | None:
    try:
        with Image.open(file) as picture:
            small = ImageOps.exif_transpose(picture).convert("RGB")
    except (
        OSError,
        ValueError,
        Image.DecompressionBombError,
    ):  # no picture; the page names the image instead
        return None
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

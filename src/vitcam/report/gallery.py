"""The best, the median and the worst image of a method, and pictures of them where there are any."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vitcam.evaluation.datasets.kinds import KINDS, split_spec
from vitcam.evaluation.gallery import read_pictures
from vitcam.evaluation.measure import Number, Task
from vitcam.render.overlay import overlay
from vitcam.report.run import Run
from vitcam.report.scores import Scores

RANKS = ("best", "median", "worst")
SIDE = 224
"""Of a picture on the page, in pixels at most."""


@dataclass(frozen=True)
class Example:
    """One image of the gallery: its rank among a method's, the class that was explained, and its score."""

    rank: str
    image: str
    target: int
    class_name: str
    score: float


@dataclass(frozen=True)
class ShownExample:
    """An example with its picture.

    Attributes:
        example: which image it is.
        address: its picture as a ``data:`` address; "" if there is none, so that the page names the image instead.
        has_heatmap: whether the picture shows the heatmap.
    """

    example: Example
    address: str
    has_heatmap: bool


@dataclass(frozen=True)
class GalleryRow:
    """The examples of a method of a run."""

    run: str
    method: str
    examples: tuple[ShownExample, ...]


def gallery(task: Task, scores: Sequence[tuple[Run, Scores]], measure: Number) -> list[GalleryRow]:
    """A row of three per method, ordered by a measure.

    Args:
        task: whose.
        scores: of the task, run by run.
        measure: what the best is the best by.
    """
    rows = []
    for run, of_run in scores:
        if measure.key not in of_run.numbers:
            continue
        chosen = {method: examples(of_run, measure.key, method, measure.sign) for method in of_run.methods}
        pictures = RunPictures(run, task, chain.from_iterable(chosen.values()))
        rows += [
            GalleryRow(run.name, method, tuple(pictures.of(method, each) for each in of_method))
            for method, of_method in chosen.items()
            if of_method
        ]
    return rows


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
        Example(
            rank,
            units["image"][int(i)],
            units["target"][int(i)],
            units["class_name"][int(i)] or "",
            float(values[i]),
        )
        for rank, i in chosen.items()
        if len(order) >= len(RANKS) or rank == RANKS[0]
    ]


class RunPictures:
    """Pictures of a task's examples: those that the run stored, or else photographs of the dataset.

    Args:
        run: whose.
        task: whose.
        shown: the examples that pictures will be asked for.
    """

    def __init__(self, run: Run, task: Task, shown: Iterable[Example]) -> None:
        self._run = run
        self._stored = read_pictures(run.path, task, {each.image for each in shown})

    def of(self, method: str, example: Example) -> ShownExample:
        """The heatmap over what the model saw, or the photograph alone if the dataset is still where it was."""
        photograph = _opened(self._stored.get((example.image, None, None)))
        heatmap = _opened(self._stored.get((example.image, method, example.target)))
        if photograph and heatmap:
            return ShownExample(example, _address(_with_heat(photograph, heatmap)), True)
        photograph = photograph or _opened(find_photograph(self._run, example.image))
        return ShownExample(example, _address(photograph) if photograph else "", False)


def find_photograph(run: Run, image: str) -> Path | None:
    """The file of an image, if the dataset's folder is still there."""
    kind, folder = split_spec(str(run.settings.get("data", "")))
    root = Path(folder)
    if not folder or not root.is_dir() or Path(image).is_absolute() or ".." in Path(image).parts:
        return None
    # nothing is imported because a run names it: its folder may come from anyone
    for place in KINDS[kind].photographs if kind in KINDS else ():
        for file in root.glob(place.format(id=escape(image))):
            return file
    return None


def _opened(source: bytes | Path | None) -> Image.Image | None:
    """A picture, upright; None where there is none, so that the page names the image instead."""
    if source is None:
        return None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _with_heat(photograph: Image.Image, heatmap: Image.Image) -> Image.Image:
    scale = SIDE / max(photograph.size)
    size = (round(photograph.width * scale), round(photograph.height * scale))
    heat = np.asarray(
        Image.fromarray(np.asarray(heatmap, np.float32)).resize(size, Image.Resampling.BILINEAR)
    )
    spread = heat.max() - heat.min()
    return overlay(photograph.resize(size, Image.Resampling.BICUBIC), (heat - heat.min()) / (spread or 1.0))


def _address(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

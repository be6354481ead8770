"""COCO's masks: polygons and run lengths to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.digests import digest_of
from vitcam.types import Box


@dataclass(frozen=True)
class Shape:
    """An annotated object: its class, box, outline as COCO's JSON has it, and what to call it in an error."""

    label: int
    box: Box
    outline: Any  # a list of polygons [x, y, x, y, …], or {"size": [height, width], "counts": run lengths}
    crowd: bool
    where: str


@dataclass(frozen=True)
class CocoSegmentation:
    """The masks of a photograph's objects, drawn when asked for."""

    height: int
    width: int
    shapes: tuple[Shape, ...]

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        """The union of these classes' objects, crowds excepted."""
        return self._union([shape for shape in self.shapes if shape.label in labels and not shape.crowd])

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        """The crowds of these classes, where none of their objects is."""
        crowds = self._union([shape for shape in self.shapes if shape.label in labels and shape.crowd])
        return np.asarray(crowds & ~self.mask(labels), dtype=bool)

    def digest(self) -> str:
        """Of the outlines as the annotations have them, without drawing them; not of where the file lies."""
        outlines = [(shape.label, shape.box, shape.outline, shape.crowd) for shape in self.shapes]
        return digest_of(repr((self.height, self.width, outlines)).encode())

    def _union(self, shapes: list[Shape]) -> Bool[np.ndarray, "height width"]:
        pixels = np.zeros((self.height, self.width), dtype=bool)
        for shape in shapes:
            pixels |= draw(shape, self.height, self.width)
        return pixels


def draw(shape: Shape, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels inside an outline.

    Raises:
        DatasetError: the outline is malformed or doesn't fit the photograph, or ``pycocotools`` isn't
            installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise DatasetError("COCO's masks need pycocotools: pip install 'vitcam[eval]'") from error

    if isinstance(shape.outline, dict):
        runs = coco_mask.frPyObjects(
            {"size": [height, width], "counts": _run_lengths(shape, height, width)}, height, width
        )
    else:
        runs = coco_mask.merge(coco_mask.frPyObjects(_polygons(shape), height, width))
    return np.asarray(coco_mask.decode(runs), dtype=bool)


def _polygons(shape: Shape) -> list[list[float]]:
    fine = shape.outline and all(
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(number, int | float) for number in polygon)
        for polygon in shape.outline
    )
    if not fine:
        raise DatasetError(
            f"{shape.where}: 'segmentation' must be polygons [x, y, x, y, x, y, …] of at least three points, "
            f"got {shape.outline!r:.60}"
        )
    return list(shape.outline)


def _run_lengths(shape: Shape, height: int, width: int) -> list[int]:
    # pycocotools leaves uninitialised memory where the runs don't cover the photograph: hence the check.
    counts = shape.outline.get("counts")
    runs = decompress(counts) if isinstance(counts, str) else counts
    fine = (
        shape.outline.get("size") == [height, width]
        and isinstance(runs, list)
        and all(isinstance(run, int) and run >= 0 for run in runs)
        and sum(runs) == height * width
    )
    if not fine:
        raise DatasetError(
            f"{shape.where}: 'segmentation' must be run lengths that cover the photograph's {height}×{width} "
            f"pixels, got {shape.outline!r:.60}"
        )
    return list(runs)


def decompress(counts: str) -> list[int]:
    """Run lengths from COCO's compressed form.

    Five bits per character (code − 48), lowest first; bit 5 says that more follow, bit 4 of the last is the
    sign; from the fourth run on it is the difference to the run two before.

    Example:
        >>> decompress(";230009")
        [11, 2, 3, 2, 3, 2, 12]
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs

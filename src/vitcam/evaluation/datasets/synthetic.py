"""Composed pictures whose cause is known, since nothing else is in them: with these a measure itself can be
judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import EXPLAINS, Dataset, DatasetClass, Explained
from vitcam.evaluation.datasets.folder import open_folder
from vitcam.evaluation.datasets.sample import Sample
from vitcam.images import open_image
from vitcam.photos import photo_path
from vitcam.types import Box

SCENES = ("objects", "photographs")

_SHIPPED = (
    ("cat", "n02123045", Box(0, 0, 380, 300)),
    ("cup", "n07930864", Box(75, 10, 480, 385)),
    ("astronaut", None, Box(45, 12, 200, 195)),
)
_NAMES = {"astronaut": "face"}


@dataclass(frozen=True)
class Source:
    """A photograph that objects are cut from: its file, the object's class and where it is; None for all of it."""

    path: Path
    label: int
    box: Box | None


@dataclass(frozen=True)
class SyntheticRecord:
    """A picture to be drawn.

    Attributes:
        id: its number.
        labels: its classes.
        seed: of its background.
        sources: which of the sources are in it.
        cuts: what is cut from each of these photographs.
        places: where that goes in the picture.
        mirrored: whether it is mirrored on the way.
    """

    id: str
    labels: tuple[int, ...]
    seed: tuple[int, ...]
    sources: tuple[int, ...]
    cuts: tuple[Box, ...]
    places: tuple[Box, ...]
    mirrored: tuple[bool, ...]


@dataclass(frozen=True)
class Ellipses:
    """The masks of pasted objects: each is an ellipse that fills its place."""

    side: int
    places: tuple[Box, ...]
    labels: tuple[int, ...]

    def mask(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        inside = np.zeros((self.side, self.side), dtype=np.bool_)
        for place, label in zip(self.places, self.labels, strict=True):
            if label in labels:
                left, top, right, bottom = map(int, place)
                inside[top:bottom, left:right] |= ellipse(bottom - top, right - left)
        return inside

    def void(self, labels: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
        return np.zeros((self.side, self.side), dtype=np.bool_)


def open_synthetic(
    root: Path | None, *, scene: str = "objects", count: int = 40, seed: int = 0, side: int = 224
) -> Dataset:
    """Pictures composed of photographs, with nothing to see but their objects; drawn when they are read.

    ``scene="objects"``: two objects of different classes, cut out as ellipses, on a background of smooth random
    colours.
    Each of the two classes is explained; its cause is its own object, whose mask is known to the pixel, and the other
    object is what a map should leave out. ``scene="photographs"``: one photograph each, cropped at random and perhaps
    mirrored, from which ``mosaic:synthetic:`` makes mosaics for Focus.

    That the cause is where the object is holds of any classifier that hasn't learnt something of smooth colours; what
    within the object is the cause isn't known, so that a perfect map is one that is hot all over it.

    Args:
        root: class folders of photographs, perhaps with ``boxes.csv``, as for ``folder:``; None for the photographs
            that come with vitcam: a cat, a cup and a face.
        scene: "objects" or "photographs".
        count: how many.
        seed: of all that is drawn.
        side: of the square pictures, in pixels.

    Raises:
        DatasetError: an option makes no sense, or there are no two classes.

    Example:
        >>> sample = open_synthetic(None, count=4)[0]
        >>> sample.labels, sample.image().size, bool(sample.mask(sample.labels[0]).any())
        ((0, 2), (224, 224), True)
    """
    checks = {
        "scene": (scene in SCENES, " or ".join(SCENES), scene),
        "count": (isinstance(count, int) and count > 0, "1 or more", count),
        "seed": (isinstance(seed, int) and seed >= 0, "0 or more", seed),
        "side": (isinstance(side, int) and 32 <= side <= 4096, "from 32 to 4096 pixels", side),
    }
    for name, (holds, expected, given) in checks.items():
        if not holds:
            raise DatasetError(f"the option {name} of a synthetic dataset must be {expected}; got {given!r}")
    classes, sources = _shipped() if root is None else _of_folder(root)
    found = sorted({source.label for source in sources})
    if scene == "objects" and len(found) < 2:
        raise DatasetError(
            f"two objects of different classes are pasted, and {root} has photographs of one only"
        )
    draw = _objects if scene == "objects" else _photograph
    records = tuple(
        draw(f"{number:05d}", sources, found[number % len(found)], side, (seed, number))
        for number in range(count)
    )
    explained: Explained = "labelled" if scene == "objects" else "predicted"
    return Dataset(
        kind="synthetic",
        root=Path() if root is None else root,
        classes=classes,
        records=records,
        read=partial(_read, sources, scene == "objects", side),
        notes=EXPLAINS[explained],
        explained=explained,
    )


def _shipped() -> tuple[tuple[DatasetClass, ...], tuple[Source, ...]]:
    sources = tuple(Source(photo_path(name), label, box) for label, (name, _, box) in enumerate(_SHIPPED))
    return tuple(DatasetClass(_NAMES.get(name, name), id) for name, id, _ in _SHIPPED), sources


def _of_folder(root: Path) -> tuple[tuple[DatasetClass, ...], tuple[Source, ...]]:
    dataset = open_folder(root)
    sources = []
    for sample in (dataset[index] for index in range(len(dataset))):
        if sample.path is not None and len(sample.labels) == 1:
            box = max(sample.boxes, key=lambda box: box.width * box.height, default=None)
            sources.append(Source(sample.path, sample.labels[0], box))
    return dataset.classes, tuple(sources)


def _of_label(sources: tuple[Source, ...], label: int, random: np.random.Generator) -> int:
    these = [number for number, source in enumerate(sources) if source.label == label]
    return these[random.integers(len(these))]


def _objects(
    id: str, sources: tuple[Source, ...], label: int, side: int, seed: tuple[int, int]
) -> SyntheticRecord:
    """Two objects, each in a half of the picture of its own, neither touching the other."""
    random = np.random.default_rng(seed)
    others = sorted({source.label for source in sources} - {label})
    chosen = tuple(_of_label(sources, each, random) for each in (label, others[random.integers(len(others))]))
    cuts = tuple(_whole(sources[number]) for number in chosen)
    halves, across = random.permutation(2), bool(random.integers(2))
    places = []
    for half, cut in zip(halves, cuts, strict=True):
        longest = side * random.uniform(0.36, 0.48)
        scale = longest / max(cut.width, cut.height)
        width, height = max(8, round(cut.width * scale)), max(8, round(cut.height * scale))
        free = [0, side - width, 0, side - height]  # where its left and its top may be
        axis = 0 if across else 2
        if half:
            free[axis] = side // 2
        else:
            free[axis + 1] = side // 2 - (width if across else height)
        left, top = (int(random.integers(free[i], max(free[i + 1], free[i]) + 1)) for i in (0, 2))
        places.append(Box(left, top, left + width, top + height))
    mirrored = tuple(bool(random.integers(2)) for _ in chosen)
    labels = tuple(sorted(sources[number].label for number in chosen))
    return SyntheticRecord(id, labels, seed, chosen, cuts, tuple(places), mirrored)


def _photograph(
    id: str, sources: tuple[Source, ...], label: int, side: int, seed: tuple[int, int]
) -> SyntheticRecord:
    """One photograph's crop with 75 to 100 % of its width and height, over the whole picture."""
    random = np.random.default_rng(seed)
    chosen = _of_label(sources, label, random)
    width, height = open_image(sources[chosen].path).size
    share = random.uniform(0.75, 1)
    left, top = random.uniform(0, (1 - share) * width), random.uniform(0, (1 - share) * height)
    cut = Box(left, top, left + share * width, top + share * height)
    return SyntheticRecord(
        id, (label,), seed, (chosen,), (cut,), (Box(0, 0, side, side),), (bool(random.integers(2)),)
    )


def _whole(source: Source) -> Box:
    if source.box is not None:
        return source.box
    width, height = open_image(source.path).size
    return Box(0, 0, width, height)


def _read(sources: tuple[Source, ...], pasted: bool, side: int, record: SyntheticRecord) -> Sample:
    labels = tuple(sources[number].label for number in record.sources)
    boxes = record.places if pasted else (_seen(sources[record.sources[0]], record, side),)
    return Sample(
        id=record.id,
        path=None,
        labels=record.labels,
        boxes=boxes,
        box_labels=labels,
        width=side,
        height=side,
        segmentation=Ellipses(side, record.places, labels) if pasted else None,
        pixels=partial(_draw, sources, pasted, side, record),
    )


def _seen(source: Source, record: SyntheticRecord, side: int) -> Box:
    """The object's box in the crop of its photograph."""
    (cut,), box = record.cuts, _whole(source)
    left, right = (float(np.clip((x - cut.left) / cut.width, 0, 1)) * side for x in (box.left, box.right))
    top, bottom = (float(np.clip((y - cut.top) / cut.height, 0, 1)) * side for y in (box.top, box.bottom))
    return (
        Box(side - right, top, side - left, bottom) if record.mirrored[0] else Box(left, top, right, bottom)
    )


def _draw(sources: tuple[Source, ...], pasted: bool, side: int, record: SyntheticRecord) -> Image.Image:
    random = np.random.default_rng([*record.seed, 1])
    colours = Image.fromarray(random.integers(60, 196, (4, 4, 3), dtype=np.uint8))
    picture = colours.resize((side, side), Image.Resampling.BICUBIC)
    for number, cut, place, mirrored in zip(
        record.sources, record.cuts, record.places, record.mirrored, strict=True
    ):
        left, top, right, bottom = map(int, place)
        size = (right - left, bottom - top)
        object_ = open_image(sources[number].path).resize(size, Image.Resampling.BICUBIC, box=tuple(cut))
        if mirrored:
            object_ = object_.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        shape = Image.fromarray(ellipse(size[1], size[0]).astype(np.uint8) * 255) if pasted else None
        picture.paste(object_, (left, top), shape)
    return picture


def ellipse(height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres are inside the ellipse that fills a rectangle.

    Example:
        >>> ellipse(3, 4).astype(int).tolist()
        [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    """
    rows = (np.arange(height) + 0.5) / height * 2 - 1
    columns = (np.arange(width) + 0.5) / width * 2 - 1
    return np.asarray(rows[:, None] ** 2 + columns[None] ** 2 <= 1)

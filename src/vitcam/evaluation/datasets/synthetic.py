"""Composed pictures whose cause is known, since nothing else is in them: with these a measure itself can be
judged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.composing import Source, SyntheticRecord, read_composed, whole_object
from vitcam.evaluation.datasets.dataset import EXPLAINS, Dataset, DatasetClass, Explained
from vitcam.evaluation.datasets.folder import open_folder
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
        read=partial(read_composed, sources, scene == "objects", side),
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
    cuts = tuple(whole_object(sources[number]) for number in chosen)
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

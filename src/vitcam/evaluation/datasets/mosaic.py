"""Mosaics of another dataset's photographs, whose truth is known without a box: the tiles of a class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import EXPLAINS, Dataset
from vitcam.evaluation.datasets.tiles import MosaicRecord, Tile, View, read_mosaic


@dataclass(frozen=True)
class Mosaics:
    """How mosaics are composed; made by ``open_mosaic``, whose arguments these are.

    Attributes:
        base: whose photographs become tiles.
        count: of mosaics, at most.
        grid, kind, seed, confidence, tiles: as for ``open_mosaic``.
    """

    base: Dataset
    grid: int
    kind: str
    count: int
    seed: int
    confidence: float
    tiles: str

    def drawn(self) -> Iterator[Tile]:
        """All photographs of one class, in an order drawn by the seed; read when they are asked for."""
        ids = self.base.ids
        for index in map(int, np.random.default_rng(self.seed).permutation(len(self.base))):
            labels = self.base[index].labels
            if len(labels) == 1:
                yield Tile(index, ids[index], labels[0])

    def composed(self, photographs: Iterable[Tile], same: Mapping[int, int]) -> tuple[MosaicRecord, ...]:
        """Mosaics of these photographs, each of which is in at most one; ``count`` of them, or as many as there can
        be.

        Args:
            photographs: which, in the order in which they are taken.
            same: from a class to the one that it counts as, so that classes that a model doesn't tell apart don't
                meet; classes that aren't in it are left out.
        """
        left: dict[int, list[Tile]] = defaultdict(list)
        for tile in photographs:
            if tile.label in same:
                left[same[tile.label]].append(tile)
        random = np.random.default_rng([self.seed, 1])
        records: list[MosaicRecord] = []
        while len(records) < self.count and (chosen := self._chosen(left, random)):
            labels = chosen[:2] if self.kind == "focus" else chosen
            tiles = tuple(chosen[i] for i in random.permutation(len(chosen)))
            records.append(
                MosaicRecord(f"{len(records):05d}", tuple(sorted({tile.label for tile in labels})), tiles)
            )
        return tuple(records)

    def _chosen(self, left: Mapping[int, list[Tile]], random: np.random.Generator) -> list[Tile]:
        """The tiles of the next mosaic, those of the target class first, taken from what is left; [] if it isn't
        enough.
        """
        if self.kind == "focus":
            targets = [group for group in sorted(left) if len(left[group]) >= 2]
            if not targets:
                return []
            target = targets[random.integers(len(targets))]
            groups = [target, target, *self._groups(left, 2, random, without=target)]
        else:
            groups = self._groups(left, self.grid**2, random)
        return [left[group].pop(0) for group in groups] if len(groups) == self.grid**2 else []

    @staticmethod
    def _groups(
        left: Mapping[int, list[Tile]], count: int, random: np.random.Generator, without: int | None = None
    ) -> list[int]:
        groups = [group for group in sorted(left) if left[group] and group != without]
        return [groups[i] for i in random.permutation(len(groups))[:count]] if len(groups) >= count else []

    def dataset(
        self,
        photographs: Sequence[Tile],
        view: View,
        same: Mapping[int, int] | None = None,
        notes: Sequence[str] = (),
    ) -> Dataset:
        """The dataset of the mosaics of these photographs.

        Raises:
            DatasetError: not one can be composed of them.
        """
        same = same if same is not None else {tile.label: tile.label for tile in photographs}
        records = self.composed(photographs, same)
        if not records:
            classes = len({same[tile.label] for tile in photographs if tile.label in same})
            needs = (
                "two photographs of a class and two of other classes"
                if self.kind == "focus"
                else f"photographs of {self.grid**2} different classes"
            )
            raise DatasetError(
                f"no mosaic can be composed: it needs {needs}, and of {self.base.kind}:{self.base.root} there are "
                f"{len(photographs)} of {classes} classes{self._that_are_sure}. Give more photographs"
                + (", or a lower --data-option confidence" if self._that_are_sure else "")
            )
        few = (
            (f"{len(records)} mosaics instead of {self.count}: no more can be composed of the photographs",)
            if len(records) < self.count
            else ()
        )
        return Dataset(
            kind="mosaic",
            root=self.base.root,
            classes=self.base.classes,
            records=records,
            read=partial(read_mosaic, self.base, self.grid, view),
            notes=(*self.base.notes, *notes, *few, *EXPLAINS["labelled"]),
            explained="labelled",
            mosaics=self,
        )

    @property
    def _that_are_sure(self) -> str:
        return f" that the model is sure of (confidence {self.confidence:g})" if self.confidence else ""


def open_mosaic(
    data: str | Dataset,
    *,
    grid: int = 2,
    kind: str = "grid",
    mosaics: int = 100,
    seed: int = 0,
    confidence: float | str = 0.9,
    tiles: str = "auto",
    **options: Any,
) -> Dataset:
    """Opens mosaics of another dataset's photographs, in which each class is to be found in its own tiles.

    ``kind="grid"`` is the grid pointing game (Böhle et al. 2021, arXiv 2104.00032; Rao et al. 2022, arXiv
    2205.10435):
    grid × grid photographs of different classes, each of which is explained in turn. ``kind="focus"`` is Focus
    (Arias-Duart et al. 2022, arXiv 2109.15035): two photographs of the one class that is explained and two of other
    classes, in any order. What is predicted for the mosaic doesn't matter. Each photograph is in one mosaic at most.

    A run (``evaluate``) takes photographs that its model classifies rightly with a probability of ``confidence`` or
    more,
    prepared as the model sees them, and stores which; opened by itself, the dataset takes any, squashed to 224×224.

    Args:
        data: ``KIND:PATH`` of that dataset.
        grid: tiles in a row, and rows.
        kind: "grid" or "focus".
        mosaics: how many, at most.
        seed: of what is drawn.
        confidence: 0 takes any photograph of a class that the model knows.
        tiles: "own", each as large as the model's input, for models that take images grid times as large; "small",
            the mosaic is as large as the model's input; or "auto", the first where the model can.
        **options: of the other dataset's reader.

    Raises:
        DatasetError: an option makes no sense, or there aren't photographs of enough classes.

    Example:
        >>> mosaics = open_mosaic("folder:things", kind="focus")
        >>> sample = mosaics[0]
        >>> sample.image().size, len(sample.labels), len(sample.boxes)
        ((448, 448), 1, 2)
    """
    from vitcam.evaluation.datasets.kinds import open_dataset

    checks = {
        "grid": (isinstance(grid, int) and 2 <= grid <= 8, "a whole number from 2 to 8", grid),
        "kind": (kind in ("grid", "focus"), "grid or focus", kind),
        "mosaics": (isinstance(mosaics, int) and mosaics > 0, "1 or more", mosaics),
        "seed": (isinstance(seed, int) and seed >= 0, "0 or more", seed),
        "confidence": (_is_share(confidence), "a probability from 0 to below 1", confidence),
        "tiles": (tiles in ("auto", "own", "small"), "auto, own or small", tiles),
    }
    for name, (holds, expected, given) in checks.items():
        if not holds:
            raise DatasetError(f"the option {name} of mosaics must be {expected}; got {given!r}")
    if kind == "focus" and grid != 2:
        raise DatasetError(
            f"Focus is defined for 2×2 mosaics; got grid={grid}: leave it out, or take kind=grid"
        )
    base = data if isinstance(data, Dataset) else open_dataset(data, **options)
    if base.mosaics is not None:
        raise DatasetError(f"{data} are mosaics themselves: give the dataset that they are made of")
    plan = Mosaics(base, grid, kind, mosaics, seed, float(confidence), tiles)
    photographs: list[Tile] = []
    for tile in plan.drawn():
        photographs.append(tile)
        if (
            len(photographs) >= 4 * mosaics * grid**2
        ):  # of so many, enough are of different classes in usual datasets
            break
    return plan.dataset(photographs, _squashed)


def _is_share(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False


def _squashed(image: Image.Image) -> Image.Image:
    return image.resize((224, 224), Image.Resampling.BILINEAR)

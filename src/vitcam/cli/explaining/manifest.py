"""What ``manifest.json`` says about a run of ``vitcam explain``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitcam.types import Box

FORMAT = 1


@dataclass(frozen=True)
class PredictedClass:
    """A class of the model, with its probability for one photograph."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class BandCount:
    """What a band (red, green, blue) of a photograph counts for a class.

    Attributes:
        sum: of its attributions, in units of the score.
        share: of their magnitudes in those of all bands.
    """

    name: str
    sum: float
    share: float


@dataclass(frozen=True)
class Target:
    """A class that was explained.

    Attributes:
        boxes: per method the boxes of its map, in the photograph's pixels, the largest first; None if not
            asked for.
        bands: per method that tells what each band counts; None if not asked for.
    """

    index: int
    name: str
    probability: float
    boxes: Mapping[str, Sequence[Box]] | None
    bands: Mapping[str, Sequence[BandCount]] | None = None


@dataclass(frozen=True)
class HighestTile:
    """The tile of a photograph that is most of a class.

    Attributes:
        index, name: of the class.
        tile: its place in the list of tiles.
        logit: of the class, of that tile.
        mean: the mean logit over all tiles.
    """

    index: int
    name: str
    tile: int
    logit: float
    mean: float


@dataclass(frozen=True)
class TilesOfOne:
    """The tiles that a photograph was cut into.

    Attributes:
        places: of each (left, top, right, bottom) in the photograph's pixels, row by row.
        logits: the file of their logits, float32 (tiles, classes).
        highest: per class that was explained.
    """

    places: Sequence[tuple[int, int, int, int]]
    logits: str
    highest: Sequence[HighestTile]


@dataclass(frozen=True)
class Explained:
    """A photograph that was explained.

    Attributes:
        file: its path, as given or found.
        width, height: in pixels, upright.
        region: what the model sees of it, in its pixels; the maps lie over this. Where a model's
            preprocessing adds a border, it reaches beyond the photograph.
        predicted: the most probable classes, the first first.
        targets: the classes explained, in the order of the maps.
        panel: the picture's file, beside the manifest.
        maps: per method the file of its raw maps, float32 (targets, rows, columns) on the patch grid.
        tiles: those that it was cut into; None if it was explained whole.
    """

    file: str
    width: int
    height: int
    region: Box
    predicted: Sequence[PredictedClass]
    targets: Sequence[Target]
    panel: str
    maps: Mapping[str, str]
    tiles: TilesOfOne | None = None


@dataclass(frozen=True)
class Failed:
    """A photograph, or a path, that couldn't be explained, and why."""

    file: str
    error: str


Entry = Explained | Failed


def manifest_json(run: Mapping[str, Any], entries: Sequence[Entry]) -> bytes:
    """The manifest: what holds for the whole run, then its photographs.

    Args:
        run: the model, methods, settings and versions.
        entries: one per photograph; those that failed have an ``error`` and nothing else.
    """
    content = {"format": FORMAT, **run, "images": [asdict(entry) for entry in entries]}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=repr)
    # bytes of a file name that aren't UTF-8 become \udcXX, which is what JSON calls them
    return (text + "\n").encode("utf-8", "backslashreplace")

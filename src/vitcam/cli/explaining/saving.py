"""From a result to its files, and its entry in the manifest."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcam.cli.explaining.batches import Result
from vitcam.cli.explaining.boxes import to_photograph
from vitcam.cli.explaining.manifest import (
    BandCount,
    Entry,
    Explained,
    Failed,
    HighestTile,
    PredictedClass,
    Target,
    TilesOfOne,
)
from vitcam.cli.explaining.run import ExplainRun
from vitcam.errors import ImageError
from vitcam.explaining import Explanation, animation, drawn_size, figure, names_of
from vitcam.types import Box
from vitcam.writing import write_whole

PNG = {"compress_type": zlib.Z_RLE, "compress_level": 1}
"""For photographs, the size of Pillow's default in a third of its time."""

PREDICTED = 5
"""Classes that are listed for each photograph."""

Boxes = Mapping[str, Sequence[Sequence[Box]]]
"""By the methods' names: per target the boxes, in pixels of what the model saw."""


def save(result: Result, run: ExplainRun) -> Entry:
    """Draws the panel, and writes it and the raw maps.

    Returns:
        What the manifest says about it: a failure if the maps can't be drawn because they aren't finite.

    Raises:
        VitcamError: a file can't be written.
    """
    path, explanations = result.photograph.path, result.explanations
    whole = Box(0, 0, *result.size)
    region = Box(*map(round, run.model.preprocessing.region(result.size))) if run.tiles is None else whole
    kind = next(iter(explanations.values())).kind
    label = "photograph" if kind == "picture" else kind
    try:
        boxes = _boxes(explanations, run.threshold)
        panel = figure(
            explanations,
            boxes=False if run.threshold is None else run.threshold,
            bands=run.bands,
            title=path.name,
            photo_label=label if region == whole else "what the model sees",
            notes=[run.model.spec],
        )
    except ImageError as error:
        return Failed(str(path), f"{path}: {error}")
    entry = _entry(result, region, boxes, run.bands)
    png = BytesIO()
    panel.save(png, "PNG", **PNG)
    write_whole(run.output / entry.panel, png.getvalue())
    for name, file in entry.maps.items():
        _write_array(run.output / file, explanations[name].heatmaps[0].cpu().numpy())
        if run.animated is not None:
            for t in range(len(entry.targets)):
                moving = run.output / f"{Path(file).stem}.{t}.{run.animated}"
                animation(explanations[name], t=t).save(moving)
    if entry.tiles is not None:
        _write_array(run.output / entry.tiles.logits, _tile_logits(next(iter(explanations.values()))))
    return entry


def _write_array(file: Path, values: NDArray[np.float32]) -> None:
    npy = BytesIO()
    np.save(npy, values)
    write_whole(file, npy.getvalue())


def _boxes(explanations: Mapping[str, Explanation], threshold: float | None) -> Boxes:
    if threshold is None:
        return {}
    return {
        name: explanation.boxes(threshold, drawn_size(explanation))[0]
        for name, explanation in explanations.items()
    }


def _entry(result: Result, region: Box, boxes: Boxes, bands: bool) -> Explained:
    name, explanations = result.photograph.name, result.explanations
    first = next(iter(explanations.values()))

    def in_photograph(target: int) -> dict[str, list[Box]] | None:
        return {
            method: to_photograph(found[target], drawn_size(first), region, result.size)
            for method, found in boxes.items()
        } or None

    def counted(target: int) -> dict[str, list[BandCount]] | None:
        return {method: _bands(each, target) for method, each in telling.items()} if bands else None

    telling = {method: each for method, each in explanations.items() if each.bands is not None}
    if bands and not telling:
        first.band_shares  # noqa: B018  which says what does
    predicted = first.probabilities[0].argsort(descending=True)[:PREDICTED].tolist()
    return Explained(
        file=str(result.photograph.path),
        width=result.size[0],
        height=result.size[1],
        region=region,
        predicted=[PredictedClass(index, *_class(first, index)) for index in predicted],
        targets=[
            Target(index, *_class(first, index), boxes=in_photograph(target), bands=counted(target))
            for target, index in enumerate(first.targets[0].tolist())
        ],
        panel=f"{name}.panel.png",
        maps={method: f"{name}.{_in_file_name(method)}.npy" for method in explanations},
        tiles=_tiles(first, f"{name}.tiles.npy") if first.tiles else None,
    )


def _tiles(explanation: Explanation, file: str) -> TilesOfOne:
    logits = _tile_logits(explanation)
    highest = [
        HighestTile(
            index,
            *_class(explanation, index)[:1],
            int(column.argmax()),
            float(column.max()),
            float(column.mean()),
        )
        for index in explanation.targets[0].tolist()
        for column in [logits[:, index]]
    ]
    return TilesOfOne(explanation.tiles, file, highest)


def _bands(explanation: Explanation, target: int) -> list[BandCount]:
    assert explanation.bands is not None  # of those that tell
    rows = zip(
        explanation.bands[0, target].tolist(), explanation.band_shares[0, target].tolist(), strict=True
    )
    return [
        BandCount(name, *row) for name, row in zip(names_of(explanation.bands.shape[2]), rows, strict=True)
    ]


def _tile_logits(explanation: Explanation) -> NDArray[np.float32]:
    """(tiles, classes)."""
    assert (
        explanation.tile_logits is not None
    )  # of what has classes, and all that the command line explains has
    logits: NDArray[np.float32] = explanation.tile_logits[0].cpu().numpy()
    return logits


def _class(explanation: Explanation, index: int) -> tuple[str, float]:
    """Its name and its probability."""
    names = explanation.class_names
    return names[index] if names else f"class {index}", float(explanation.probabilities[0, index])


def _in_file_name(method: str) -> str:
    """A method's name without what a shell or a file system takes ill, such as ``attention_layer=5``."""
    return re.sub(r"[^\w.=,-]+", "_", method).strip("_")

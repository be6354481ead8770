"""From a result to its files, and its entry in the manifest."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np

from vitcam.cli.explaining.batches import Result
from vitcam.cli.explaining.boxes import to_photograph
from vitcam.cli.explaining.manifest import Entry, Explained, Failed, PredictedClass, Target
from vitcam.cli.explaining.run import ExplainRun
from vitcam.errors import ImageError
from vitcam.explaining import Explanation, figure
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
    region = Box(*map(round, run.model.preprocessing.region(result.size)))
    try:
        boxes = _boxes(explanations, run.threshold)
        panel = figure(
            explanations,
            boxes=False if run.threshold is None else run.threshold,
            title=path.name,
            photo_label="photograph" if region == whole else "what the model sees",
            notes=[run.model.spec],
        )
    except ImageError as error:
        return Failed(str(path), f"{path}: {error}")
    entry = _entry(result, region, boxes)
    png = BytesIO()
    panel.save(png, "PNG", **PNG)
    write_whole(run.output / entry.panel, png.getvalue())
    for name, file in entry.maps.items():
        npy = BytesIO()
        np.save(npy, explanations[name].heatmaps[0].cpu().numpy())
        write_whole(run.output / file, npy.getvalue())
    return entry


def _boxes(explanations: Mapping[str, Explanation], threshold: float | None) -> Boxes:
    if threshold is None:
        return {}
    return {name: explanation.boxes(threshold)[0] for name, explanation in explanations.items()}


def _entry(result: Result, region: Box, boxes: Boxes) -> Explained:
    name, explanations = result.photograph.name, result.explanations
    first = next(iter(explanations.values()))

    def in_photograph(target: int) -> dict[str, list[Box]] | None:
        return {
            method: to_photograph(
                found[target], (first.image_size[-2], first.image_size[-1]), region, result.size
            )
            for method, found in boxes.items()
        } or None

    predicted = first.probabilities[0].argsort(descending=True)[:PREDICTED].tolist()
    return Explained(
        file=str(result.photograph.path),
        width=result.size[0],
        height=result.size[1],
        region=region,
        predicted=[PredictedClass(index, *_class(first, index)) for index in predicted],
        targets=[
            Target(index, *_class(first, index), boxes=in_photograph(target))
            for target, index in enumerate(first.targets[0].tolist())
        ],
        panel=f"{name}.panel.png",
        maps={method: f"{name}.{_in_file_name(method)}.npy" for method in explanations},
    )


def _class(explanation: Explanation, index: int) -> tuple[str, float]:
    """Its name and its probability."""
    names = explanation.class_names
    return names[index] if names else f"class {index}", float(explanation.probabilities[0, index])


def _in_file_name(method: str) -> str:
    """A method's name without what a shell or a file system takes ill, such as ``attention_layer=5``."""
    return re.sub(r"[^\w.=,-]+", "_", method).strip("_")

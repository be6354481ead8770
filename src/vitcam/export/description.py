"""What somebody who has only the exported file must know to use it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from vitcam import __version__
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.types import PatchGrid

Classes = Literal["top1", "top5", "all"]


def describe(
    loaded: LoadedModel | None,
    name: str,
    method: str,
    classes: Classes,
    grid: PatchGrid,
    size: tuple[int, int],
) -> dict[str, Any]:
    """What is written beside the graph, and into it, as JSON.

    Args:
        loaded: the model, if it says how it wants its images and what its classes are called.
        name: what the model is called otherwise.
        method, classes: what the graph answers with.
        grid: the grid of the heatmaps.
        size: (height, width) of the images.

    Returns:
        ``vitcam`` (the version), ``spec``, ``method``, ``classes``, ``grid`` (rows, columns), ``input`` (height,
        width), ``preprocessing`` (every setting of :class:`vitcam.models.Preprocessing`, or None),
        ``class_names`` and ``wordnet_ids`` (one per logit, or None), ``multi_label`` (whether probabilities are
        sigmoids of the logits instead of their softmax).

    Example:
        >>> grid = PatchGrid(height=12, width=12, prefix=1)
        >>> about = describe(photo_model, "", "agcam", "top1", grid, size=(168, 168))
        >>> about["spec"], about["class_names"][:2], about["preprocessing"]["size"]
        ('embedded:photo', [...], [168, 168])
    """
    return {
        "vitcam": __version__,
        "spec": loaded.spec if loaded else name,
        "method": method,
        "classes": classes,
        "grid": [grid.height, grid.width],
        "input": {"height": size[0], "width": size[1]},
        "preprocessing": _declared(resized(loaded.preprocessing, size)) if loaded else None,
        "class_names": list(loaded.class_names) if loaded and loaded.class_names else None,
        "multi_label": loaded is not None and loaded.multi_label,
        "wordnet_ids": [list(ids) for ids in loaded.wordnet_ids] if loaded and loaded.wordnet_ids else None,
    }


def resized(preprocessing: Preprocessing, size: tuple[int, int]) -> Preprocessing:
    """The same preparation for an input of another size; what the crop leaves over keeps its share."""
    if size == preprocessing.size:
        return preprocessing
    resize = preprocessing.resize and (
        round(preprocessing.resize[0] * size[0] / preprocessing.size[0]),
        round(preprocessing.resize[1] * size[1] / preprocessing.size[1]),
    )
    return dataclasses.replace(preprocessing, size=size, resize=resize)


def _declared(preprocessing: Preprocessing) -> dict[str, Any]:
    # In words, what holds for every Preprocessing and so is no setting of it.
    settings = dataclasses.asdict(preprocessing)
    as_json = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {**as_json, "crop": "center", "antialias": True}

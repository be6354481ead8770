"""The picture of one explained photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from vitcam.cli.terminal import percent
from vitcam.explanation import Explanation
from vitcam.render import Cell, panel
from vitcam.types import Box

COLUMNS = 5


Boxes = Mapping[str, Sequence[Sequence[Box]]]
"""By the methods' names: per target the boxes, in pixels of what the model saw."""


def figure(
    explanations: Mapping[str, Explanation],
    boxes: Boxes,
    *,
    title: str,
    photo_label: str,
    notes: Sequence[str],
) -> Image.Image:
    """A panel: for one method an overlay per class, for several a row per class and a column per method.

    Args:
        explanations: of one and the same image, by the methods' names.
        boxes: to outline; methods without boxes may be missing.
        title: of the panel.
        photo_label: what the photograph is called.
        notes: for the line below.
    """
    first = next(iter(explanations.values()))
    labels = [_label(first, target) for target in range(first.targets.shape[1])]
    columns = [_cells(explanation, boxes.get(name)) for name, explanation in explanations.items()]
    blind = [name for name, explanation in explanations.items() if _is_blind(explanation)]
    same = [f"the same map for every class: {', '.join(blind)}"] if blind else []
    draw = partial(panel, first.photographs[0], title=title, photo_label=photo_label)
    if len(columns) > 1:
        footer = " · ".join([*notes, *same])
        return draw(
            list(zip(*columns, strict=True)),
            row_labels=labels,
            column_labels=list(explanations),
            footer=footer,
        )
    cells = [replace(cell, label=label) for cell, label in zip(columns[0], labels, strict=True)]
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    return draw(rows, footer=" · ".join([first.method, *notes, *same]))


def _label(explanation: Explanation, target: int) -> str:
    probability = float(explanation.probabilities[0, explanation.targets[0, target]])
    return f"{explanation.label(0, target)}\n{percent(probability)}"


def _cells(explanation: Explanation, boxes: Sequence[Sequence[Box]] | None) -> list[Cell]:
    maps = explanation.upsampled()[0].cpu().numpy()
    of_targets = boxes or [()] * len(maps)
    return [Cell(heat, boxes=found) for heat, found in zip(maps, of_targets, strict=True)]


def _is_blind(explanation: Explanation) -> bool:
    """Whether the maps of several classes are one and the same."""
    maps = explanation.heatmaps[0]
    return len(maps) > 1 and bool((maps == maps[:1]).all())

"""Which photographs a run is about, and in which batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitcam.errors import DatasetError, RunError
from vitcam.evaluation.datasets import ClassMatch, Dataset
from vitcam.evaluation.datasets.digests import annotation_digest, digest_of
from vitcam.evaluation.measure import Task


@dataclass(frozen=True)
class Plan:
    """The photographs of a run.

    Attributes:
        indices: into the dataset, ascending.
        unmatched: how many were passed over because the model doesn't know their class.
        masks: whether any of them has a mask.
        boxes: whether any of them has a box.
        annotations: a digest of each one's annotation and of its file's size.
        order: the indices as they are measured; () for ascending.
    """

    def shuffled(self, seed: int) -> Plan:
        """The same photographs in a random order: the first so many are a sample of all, however many."""
        order = np.random.default_rng((seed, 1)).permutation(
            self.indices
        )  # not the stream that ``limit`` draws from
        return replace(self, order=tuple(map(int, order)))

    indices: tuple[int, ...]
    unmatched: int
    masks: bool
    boxes: bool
    annotations: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

    def check_located(self, dataset: Dataset) -> None:
        """Raises RunError where nothing says what a heatmap is to be compared with."""
        if not (self.boxes or self.masks):
            raise RunError(
                f"localization compares heatmaps with boxes or masks, and none of the {len(self.indices)} "
                f"photographs of {dataset.root} has any: add them, or measure with `vitcam evaluate perturbation`, "
                "which needs none"
            )

    def batches(self, size: int) -> list[list[int]]:
        """The indices, ``size`` at a time; the same however often a run is interrupted.

        The rounding of a forward pass depends on what else is in the batch, so that only the same batches
        give the same numbers.
        """
        order = self.order or self.indices
        return [list(order[start : start + size]) for start in range(0, len(order), size)]


def make_plan(
    dataset: Dataset, match: ClassMatch, limit: int | None, seed: int, tasks: Sequence[Task] = ()
) -> Plan:
    """Chooses the photographs whose class the model knows.

    Args:
        dataset: its photographs are not read, only their annotations, and the sizes of their files.
        match: of the dataset's classes with the model's.
        limit: how many; they are drawn from the whole dataset, since its order may be by class.
        seed: of the draw.
        tasks: of the run. Sanity needs no class that the model knows, nor does localization alone of a dataset
            whose predicted class is explained, whether it is right or not.

    Raises:
        RunError: there are none.
    """
    order = range(len(dataset)) if limit is None else np.random.default_rng(seed).permutation(len(dataset))
    chosen: dict[int, str] = {}
    unmatched, masks, boxes = 0, False, False
    any_class = "sanity" in tasks or (dataset.explained == "any" and tuple(tasks) == ("localization",))
    for index in map(int, order):
        if len(chosen) == limit:
            break
        try:
            sample = dataset[index]
            annotation = annotation_digest(sample)
        except DatasetError as error:  # becomes a row with this error when its turn comes
            chosen[index] = digest_of(str(error).encode())
            continue
        if any_class or any(match.model_indices[label] is not None for label in sample.labels):
            chosen[index] = annotation
            masks = masks or sample.segmentation is not None
            boxes = boxes or bool(sample.boxes)
        else:
            unmatched += 1
    if not chosen:
        raise RunError(
            f"the model knows none of the classes of the {len(dataset)} photographs of {dataset.root} "
            f"({match.sentence}): train a head for them with `vitcam train-head`, or take another model"
        )
    indices = tuple(sorted(chosen))
    return Plan(indices, unmatched, masks, boxes, tuple(chosen[index] for index in indices))

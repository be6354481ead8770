"""Rows of both tasks: does a method find the object, and does the prediction hang on what it points at?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.evaluation.cases import LocalizationCase, PerturbationCase, measured
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import RunJob, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.rows import Row
from vitcam.explaining import compare


def localization_rows(items: Sequence[Item], job: RunJob) -> list[Row]:
    """One row per image and method, for the predicted class.

    Images whose prediction is wrong have rows without numbers, as the paper leaves them out.
    """
    explanations = compare(
        job.model.module, job.tensor(items), job.settings.methods, precision=job.settings.precision
    )
    predicted = next(iter(explanations.values())).targets[:, 0].tolist()
    scored = [i for i, item in enumerate(items) if predicted[i] in item.labels]
    measures = job.settings.measures_of("localization")
    rows = []
    for method, explanation in explanations.items():
        heatmaps = maps_of(explanation)[scored, 0].cpu()
        truths = [items[i].truths[predicted[i]] for i in scored]
        numbers = measured(measures, _case(heatmaps, truths, job)) if scored else {}
        place = {i: k for k, i in enumerate(scored)}
        for i, (item, target) in enumerate(zip(items, predicted, strict=True)):
            row = job.row("localization", item, method, target, target)
            if i in place:
                row |= {name: values[place[i]] for name, values in numbers.items()}
                row["heatmap"] = heatmaps[place[i]].numpy()
            rows.append(row)
    return rows


def _case(
    heatmaps: Float[Tensor, "batch rows columns"], truths: Sequence[Truth], job: RunJob
) -> LocalizationCase:
    settings, size = job.settings, job.model.preprocessing.size
    return LocalizationCase(
        heatmaps, truths, size, settings.threshold, settings.thresholds, settings.seed, job.masks
    )


def perturbation_rows(items: Sequence[Item], job: RunJob) -> list[Row]:
    """One row per image, method and ground-truth class, whatever the model predicts."""
    entries = [(i, target) for i, item in enumerate(items) for target in item.labels]
    images = job.tensor([items[i] for i, _ in entries])
    targets = torch.tensor([target for _, target in entries])
    explanations = compare(
        job.model.module, images, job.settings.methods, targets[:, None], precision=job.settings.precision
    )
    logits = next(iter(explanations.values())).logits
    if logits is None:
        raise ModelError(
            f"{job.model.spec} returns no logits, so that no class has a probability to be followed"
        )
    predicted = logits.argmax(1).tolist()
    grids = {name: tuple(one.heatmaps.shape[2:]) for name, one in explanations.items()}
    if len(set(grids.values())) > 1:
        said = ", ".join(f"{name} {rows}×{columns}" for name, (rows, columns) in grids.items())
        raise MethodError(
            f"methods in one run of the perturbation test must have maps on one patch grid; they have {said}. Give "
            "those of another layer of a hierarchical model a run of their own"
        )
    heatmaps, on_grid = (
        torch.cat([maps[:, 0] for maps in all_maps])
        for all_maps in zip(*((maps_of(one), one.heatmaps) for one in explanations.values()), strict=True)
    )
    case = PerturbationCase(
        job.model.module,
        images,
        heatmaps,
        on_grid,
        targets.repeat(len(explanations)),
        job.model.multi_label,
        job.settings.precision,
        job.settings.steps,
        job.settings.seed,
    )
    numbers = measured(job.settings.measures_of("perturbation"), case)
    heat = heatmaps.cpu().numpy()
    rows = []
    for place, (method, (i, target)) in enumerate(product(explanations, entries)):
        row = job.row("perturbation", items[i], method, target, predicted[place % len(entries)])
        row |= {name: values[place] for name, values in numbers.items()}
        rows.append(row | {"heatmap": heat[place]})
    return rows

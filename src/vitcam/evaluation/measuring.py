"""Rows of both tasks: does a method find the object, and does the prediction hang on what it points at?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.evaluation.cases import LocalizationCase, PerturbationCase, measured
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import RunJob, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.rows import Row
from vitcam.evaluation.times import EXPLAINING, timed
from vitcam.explaining import Explanation, compare


def localization_rows(items: Sequence[Item], job: RunJob) -> list[Row]:
    """One row per image and method, for the predicted class.

    Images whose prediction is wrong have rows without numbers, as the paper leaves them out.
    """
    explanations = _explained(job, job.tensor(items))
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


def _explained(job: RunJob, images: Float[Tensor, "batch 3 height width"]) -> dict[str, Explanation]:
    """By method, of the predicted class; those that compute in a precision of their own do so, of the same class."""
    module, settings = job.model.module, job.settings
    others = [method for method in settings.methods if method not in settings.in_full_precision]
    with timed(EXPLAINING):
        found = dict(compare(module, images, others, precision=settings.precision))
        if settings.in_full_precision:
            same = next(iter(found.values())).targets
            found |= compare(module, images, settings.in_full_precision, same)
    return {method: found[method] for method in settings.methods}


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
    with timed(
        EXPLAINING
    ):  # in fp32: a map's rounding would show in its curves, that of perturbed images doesn't
        explanations = compare(job.model.module, images, job.settings.methods, targets[:, None])
    logits = next(iter(explanations.values())).logits
    if logits is None:
        raise ModelError(
            f"{job.model.spec} returns no logits, so that no class has a probability to be followed"
        )
    predicted = logits.argmax(1).tolist()
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

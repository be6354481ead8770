"""Rows of the localization task: does a method find the object?"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.cases import LocalizationCase, measured
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import Job, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.rows import Row
from vitcam.explaining import compare


def localization_rows(items: Sequence[Item], job: Job) -> list[Row]:
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
    heatmaps: Float[Tensor, "batch rows columns"], truths: Sequence[Truth], job: Job
) -> LocalizationCase:
    settings, size = job.settings, job.model.preprocessing.size
    return LocalizationCase(
        heatmaps, truths, size, settings.threshold, settings.thresholds, settings.seed, job.masks
    )

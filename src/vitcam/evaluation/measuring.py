"""Rows of all tasks: does a method find the object, does the prediction hang on what it points at, is it sane?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.evaluation.cases import LocalizationCase, PerturbationCase, measured
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.job import RunJob, check_one_grid, compared, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.measure import Task
from vitcam.evaluation.oracle import oracle_maps
from vitcam.evaluation.rows import ORACLE, Row
from vitcam.evaluation.sanity_case import SanityCase, explained
from vitcam.evaluation.times import EXPLAINING, timed
from vitcam.explaining import Explanation
from vitcam.inputs import arranged_as_picture


def localization_rows(items: Sequence[Item], job: RunJob) -> list[Row]:
    """One row per image and method, for the predicted class; or for each class that is in the image, where the
    dataset explains those.

    Images whose prediction is wrong have rows without numbers, as the paper leaves them out, unless the dataset says
    that the class is explained in any case. ``correct`` says whether a row counts.
    """
    entries, targets = _entries(items, job)
    settings, images = job.settings, job.tensor([items[i] for i in entries])
    with timed(EXPLAINING):
        explanations = compared(job.model.module, images, settings.explained_by, targets, settings.precision)
    first = next(iter(explanations.values()))
    explained, predicted = first.targets[:, 0].tolist(), _predicted(first)
    truths = [_truth(items[i], target) for i, target in zip(entries, explained, strict=True)]
    scored = [k for k, truth in enumerate(truths) if truth is not None]
    known = [truth for truth in truths if truth is not None]
    maps = {method: maps_of(explanation)[scored, 0].cpu() for method, explanation in explanations.items()}
    if ORACLE in job.settings.methods and scored:
        maps[ORACLE] = oracle_maps(known, first)[0]
    measures = job.settings.measures_of("localization")
    place = {k: number for number, k in enumerate(scored)}
    rows = []
    for method in job.settings.methods:
        numbers = measured(measures, _case(maps[method], known, job)) if scored else {}
        for k, (i, target) in enumerate(zip(entries, explained, strict=True)):
            row = job.row("localization", items[i], method, target, predicted[k])
            row["correct"] = k in place
            if k in place:
                row |= {name: values[place[k]] for name, values in numbers.items()}
                row["heatmap"] = maps[method][place[k]].numpy()
            rows.append(row)
    return rows


def _entries(items: Sequence[Item], job: RunJob) -> tuple[list[int], Int[Tensor, "entries 1"] | None]:
    """Which item each explanation is of, and its class; None for that which is predicted."""
    if job.dataset.explained != "labelled":
        return list(range(len(items))), None
    entries = [(i, target) for i, item in enumerate(items) for target in item.truths]
    return [i for i, _ in entries], torch.tensor([[target] for _, target in entries])


def _predicted(explanation: Explanation) -> list[int]:
    """The predicted class of each image; that which was explained, where the model gives no logits."""
    logits = explanation.logits
    return (explanation.targets[:, 0] if logits is None else logits.argmax(1)).tolist()


def _truth(item: Item, target: int) -> Truth | None:
    """What the explanation of a class is compared with; None where the class isn't in the image."""
    return item.truths.get(target) if item.whole is None else item.whole


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
        explanations = compared(
            job.model.module, images, job.settings.explained_by, targets[:, None], "fp32", job.kind.name
        )
    first = next(iter(explanations.values()))
    logits = first.logits
    if logits is None:
        raise ModelError(
            f"{job.model.spec} returns no logits, so that no class has a probability to be followed"
        )
    predicted = logits.argmax(1).tolist()
    check_one_grid(explanations)
    maps = {method: (maps_of(one)[:, 0], one.heatmaps[:, 0]) for method, one in explanations.items()}
    truths = [items[i].truths.get(target) for i, target in entries]
    if ORACLE in job.settings.methods and any(truth is not None for truth in truths):
        laid, coarse = oracle_maps(truths, first)
        maps[ORACLE] = laid.to(images.device), coarse.to(images.device)
    heatmaps, on_grid = (torch.cat(both) for both in zip(*maps.values(), strict=True))

    def explained_again(places: list[int], classes: Tensor) -> Tensor:
        others = compared(
            job.model.module,
            images[places],
            job.settings.explained_by,
            classes[:, None],
            "fp32",
            job.kind.name,
        )
        again = {method: maps_of(one)[:, 0] for method, one in others.items()}
        if ORACLE in maps:
            again[ORACLE] = maps[ORACLE][0][places]
        return torch.cat([*again.values()])

    case = PerturbationCase(
        job.by_space,
        arranged_as_picture(images, job.model.preprocessing.order),
        heatmaps,
        on_grid,
        targets.repeat(len(maps)),
        job.model.multi_label,
        job.settings.precision,
        job.settings.steps,
        job.settings.seed,
        tuple(maps),
        job.black,
        explained_again,
    )
    numbers = measured(job.settings.measures_of("perturbation"), case)
    heat = heatmaps.cpu().numpy()
    rows = []
    for place, (method, (i, target)) in enumerate(product(maps, entries)):
        if method == ORACLE and truths[place % len(entries)] is None:
            continue
        row = job.row("perturbation", items[i], method, target, predicted[place % len(entries)])
        row |= {name: values[place] for name, values in numbers.items()}
        rows.append(row | {"heatmap": heat[place]})
    return rows


def sanity_rows(items: Sequence[Item], job: RunJob) -> list[Row]:
    """One row per image and method, for the predicted class, right or wrong."""
    images, methods, precision = job.tensor(items), job.settings.explained_by, job.settings.precision
    with timed(EXPLAINING):
        maps, targets = explained(job.model.module, methods, images, None, precision)
    case = SanityCase(
        job.model.module,
        methods,
        images,
        maps.heatmaps,
        maps.on_grid,
        targets.repeat(len(methods)),
        maps.logits,
        job.model.multi_label,
        precision,
        job.settings.seed,
        job.twin,
    )
    numbers = measured(job.settings.measures_of("sanity"), case)
    heat = maps.heatmaps.cpu().numpy()
    rows = []
    for place, (method, i) in enumerate(product(methods, range(len(items)))):
        predicted = int(targets[i])
        row = job.row("sanity", items[i], method, predicted, predicted)
        row |= {name: values[place] for name, values in numbers.items()}
        rows.append(row | {"heatmap": heat[place]})
    return rows


ROWS: Mapping[Task, Callable[[Sequence[Item], RunJob], list[Row]]] = {
    "localization": localization_rows,
    "perturbation": perturbation_rows,
    "sanity": sanity_rows,
}
"""By task."""

"""What a method's map costs, measured in the run itself: each method by itself, in turns, on images of the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from platform import platform
from typing import Any

import torch

from vitcam.evaluation.job import RunJob, compared
from vitcam.evaluation.loading import Item
from vitcam.evaluation.plan import Plan
from vitcam.evaluation.stored_rows import StoredRows

ROUNDS = 5
SHARE = 0.05
"""Of a run's time, which the rounds may take."""
FREE = 60.0
"""Seconds that the first round may take, however short the run was."""


def measure_costs(job: RunJob, plan: Plan, rows: StoredRows, seconds: float) -> dict[str, Any] | None:
    """How long each method takes for a map when it is the only one, on a batch of the run.

    A run's methods share the model's passes, so that their parts of that time can't be told apart: ``gae`` needs a
    backward pass, and ``rollout``, which gets it along, doesn't. So each method explains one batch by itself, the
    predicted class of each image, in turns with the others. The first round always runs, up to ``ROUNDS`` as long as
    they take less than ``SHARE`` of the run. Where images took so long that the first round would take more, with
    methods of many passes, it is of fewer images. Reading and preparing photographs isn't in it.

    Args:
        job: the run's.
        plan: its photographs.
        rows: of the run; images without scores aren't taken.
        seconds: how long the run took.

    Returns:
        What ``costs.json`` holds; None where no image was scored.
    """
    scored = set(rows.images.filter("scored")["image"])
    affordable = max(SHARE * seconds, FREE) * len(scored) / max(seconds, FREE)
    items = _first_scored(job, plan, scored, min(job.settings.batch_size, max(1, int(affordable))))
    if not items:
        return None
    images = job.tensor(items)
    samples: dict[str, list[float]] = {method: [] for method in job.settings.explained_by}
    begun = time.perf_counter()
    for turn in range(ROUNDS):
        for method, times in samples.items():
            start = time.perf_counter()
            maps = compared(job.model.module, images, [method], None, job.settings.precision, job.kind.name)
            maps[method].heatmaps.cpu()  # waits for the device
            times.append(1000 * (time.perf_counter() - start) / len(items))
        spent = time.perf_counter() - begun
        if spent * (turn + 2) / (turn + 1) > SHARE * seconds:
            break
    return {
        "batch_size": len(items),
        "precision": job.settings.precision,
        "device": images.device.type,
        "threads": torch.get_num_threads(),
        "platform": platform(),
        "ms_per_map": samples,
    }


def _first_scored(job: RunJob, plan: Plan, scored: set[str], count: int) -> Sequence[Item]:
    photographs, ids = job.photographs("perturbation"), job.dataset.ids
    items: list[Item] = []
    for index in plan.indices:
        if ids[index] in scored and isinstance(item := photographs[index], Item):
            items.append(item)
        if len(items) == count:
            break
    return items

"""Autocast that a caller has switched on doesn't reach the metrics, which have a precision of their own."""

from __future__ import annotations

import pytest
import torch

from vitcam.evaluation.metrics.completeness import completeness_error
from vitcam.evaluation.metrics.insertion_deletion import insertion_deletion, mean_fill
from vitcam.evaluation.metrics.perturbation import perturbation_curves
from vitcam.evaluation.metrics.road import road_curves
from vitcam.evaluation.metrics.saco import saco
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.types import PatchGrid

METRICS = {
    "perturbation": lambda case, **more: perturbation_curves(*given(case), 2, **more).morf,
    "insertion": lambda case, **more: (
        insertion_deletion(*given(case), mean_fill(case.images), 2, **more).insertion
    ),
    "road": lambda case, **more: road_curves(*given(case), **more).morf,
    "saco": lambda case, **more: saco(*given(case), **more),
    "completeness": lambda case, **more: completeness_error(
        case.model, case.images, case.heatmaps.sum((1, 2)), case.targets, **more
    ),
    "tokens": lambda case, **more: (
        token_dropping_curves(case.model, case.model.blocks[0], GRID, *given(case)[1:], 2, **more).morf
    ),
}
GRID = PatchGrid(height=4, width=3, prefix=1)


def given(case):
    return case.model, case.images, case.heatmaps, case.targets


@pytest.mark.parametrize("metric", METRICS)
def test_autocast_around_changes_nothing(case, metric: str) -> None:
    expected = METRICS[metric](case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = METRICS[metric](case)
    assert found.equal(expected)


def test_a_precision_asked_for_is_not_undone(case) -> None:
    lower = METRICS["perturbation"](case, precision="bf16")
    assert not lower.equal(METRICS["perturbation"](case))
    with torch.autocast("cpu", enabled=False):
        assert METRICS["perturbation"](case, precision="bf16").equal(lower)

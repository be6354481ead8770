"""Rows of the perturbation task: does the prediction hang on what a method points at?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.evaluation.job import Job, maps_of
from vitcam.evaluation.loading import Item
from vitcam.evaluation.metrics.curves import Curves
from vitcam.evaluation.metrics.insertion_deletion import blur_fill, insertion_deletion, mean_fill
from vitcam.evaluation.metrics.perturbation import perturbation_curves
from vitcam.evaluation.metrics.road import road_curves
from vitcam.evaluation.metrics.saco import saco
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.evaluation.rows import Row, Shape
from vitcam.evaluation.settings import Settings
from vitcam.explaining import compare
from vitcam.recording import Overrides, Precision
from vitcam.recording.known import know
from vitcam.recording.preserved import preserved
from vitcam.targets import score_of

Numbers = dict[str, list[float] | list[list[float]]]

_NUMBER: Shape = "number"
_CURVE: Shape = "curve"
_FILLS = {"blur": blur_fill, "mean": mean_fill}


class _Given(TypedDict):
    """What every test is given: explanations of the same images by all methods, so that heatmap k is of image k mod
    images.
    """

    model: nn.Module
    images: Float[Tensor, "images 3 height width"]
    heatmaps: Float[Tensor, "heatmaps rows columns"]
    targets: Int[Tensor, " heatmaps"]
    multi_label: bool
    precision: Precision


def perturbation_columns(settings: Settings) -> Mapping[str, Shape]:
    """The numbers of a row: those of the tests that the settings ask for."""
    curves = [f"{test}_{fill}" for fill in _FILLS for test in ("insertion", "deletion")]
    columns: dict[str, dict[str, Shape]] = {
        "abpc": _curve_columns(""),
        "insertion-deletion": {
            **dict.fromkeys(curves, _CURVE),
            **dict.fromkeys((f"auc_{name}" for name in curves), _NUMBER),
        },
        "road": _curve_columns("road_"),
        "token-dropping": _curve_columns("token_"),
        "saco": {"saco": _NUMBER},
    }
    return {
        name: shape for test in settings.tests_of("perturbation") for name, shape in columns[test].items()
    }


def perturbation_rows(items: Sequence[Item], job: Job) -> list[Row]:
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
    heatmaps, on_grid = (
        torch.cat([maps[:, 0] for maps in all_maps])
        for all_maps in zip(*((maps_of(one), one.heatmaps) for one in explanations.values()), strict=True)
    )
    given = _Given(
        model=job.model.module,
        images=images,
        heatmaps=heatmaps,
        targets=targets.repeat(len(explanations)),
        multi_label=job.model.multi_label,
        precision=job.settings.precision,
    )
    numbers: Numbers = {}
    for test in job.settings.tests_of("perturbation"):
        of_tokens = _Given(**{**given, "heatmaps": on_grid})
        numbers |= _TESTS[test](of_tokens if test == "token-dropping" else given, job.settings)
    heat = heatmaps.cpu().numpy()
    rows = []
    for place, (method, (i, target)) in enumerate(product(explanations, entries)):
        row = job.row("perturbation", items[i], method, target, predicted[place % len(entries)])
        row |= {name: values[place] for name, values in numbers.items()}
        rows.append(row | {"heatmap": heat[place]})
    return rows


def _paper(given: _Given, settings: Settings) -> Numbers:
    return _curve_numbers("", perturbation_curves(**given, steps=settings.steps))


def _insertion_deletion(given: _Given, settings: Settings) -> Numbers:
    numbers: Numbers = {}
    for name, fill in _FILLS.items():
        both = insertion_deletion(**given, fills=fill(given["images"]), steps=settings.steps)
        numbers |= {
            f"insertion_{name}": both.insertion.tolist(),
            f"deletion_{name}": both.deletion.tolist(),
            f"auc_insertion_{name}": both.auc_insertion.tolist(),
            f"auc_deletion_{name}": both.auc_deletion.tolist(),
        }
    return numbers


def _road(given: _Given, settings: Settings) -> Numbers:
    return _curve_numbers("road_", road_curves(**given, seed=settings.seed))


def _token_dropping(given: _Given, settings: Settings) -> Numbers:
    """Nothing where it isn't defined: for what is no plain ViT, has no class token, or takes all tokens only."""
    model, images = given["model"], given["images"]
    with preserved(model):
        layout = know(model, images, score_of(None, len(images), None), Overrides()).layout
    if not layout.blocks or layout.obstacle or len(layout.streams) > 1 or not layout.together:
        return {}
    block = model.get_submodule(layout.blocks[0])
    try:
        curves = token_dropping_curves(
            **given, block=block, grid=layout.grid, steps=settings.steps, tokens=layout.tokens
        )
    except ModelError:
        return {}
    return _curve_numbers("token_", curves)


def _saco(given: _Given, settings: Settings) -> Numbers:
    return {"saco": saco(**given).tolist()}


_TESTS: Mapping[str, Callable[[_Given, Settings], Numbers]] = {
    "abpc": _paper,
    "insertion-deletion": _insertion_deletion,
    "road": _road,
    "token-dropping": _token_dropping,
    "saco": _saco,
}


def _curve_columns(prefix: str) -> dict[str, Shape]:
    curves = dict.fromkeys((f"{prefix}lerf", f"{prefix}morf"), _CURVE)
    areas = dict.fromkeys((f"{prefix}auc_lerf", f"{prefix}auc_morf", f"{prefix}abpc"), _NUMBER)
    return {**curves, **areas}


def _curve_numbers(prefix: str, curves: Curves) -> Numbers:
    return {
        f"{prefix}lerf": curves.lerf.tolist(),
        f"{prefix}morf": curves.morf.tolist(),
        f"{prefix}auc_lerf": curves.auc_lerf.tolist(),
        f"{prefix}auc_morf": curves.auc_morf.tolist(),
        f"{prefix}abpc": curves.abpc.tolist(),
    }

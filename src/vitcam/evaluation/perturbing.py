"""Rows of the perturbation task: does the prediction hang on what a method points at?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.evaluation.job import Job
from vitcam.evaluation.loading import Item
from vitcam.evaluation.metrics.curves import Curves
from vitcam.evaluation.metrics.insertion_deletion import blur_fill, insertion_deletion, mean_fill
from vitcam.evaluation.metrics.perturbation import perturbation_curves
from vitcam.evaluation.metrics.road import road_curves
from vitcam.evaluation.metrics.saco import saco
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.evaluation.protocol import Protocol
from vitcam.evaluation.rows import Row, Shape
from vitcam.explaining import compare
from vitcam.recording import Overrides
from vitcam.recording.known import know
from vitcam.recording.preserved import preserved
from vitcam.targets import score_of

Numbers = dict[str, list[float] | list[list[float]]]

_NUMBER: Shape = "number"
_CURVE: Shape = "curve"
_FILLS = {"blur": blur_fill, "mean": mean_fill}


def perturbation_columns(protocol: Protocol) -> Mapping[str, Shape]:
    """The numbers of a row: the paper's, or with ``vitcam`` those of all perturbation tests."""
    columns: dict[str, Shape] = _curve_columns("")
    if protocol == "vitcam":
        for fill in _FILLS:
            columns |= {f"insertion_{fill}": _CURVE, f"deletion_{fill}": _CURVE}
            columns |= {f"auc_insertion_{fill}": _NUMBER, f"auc_deletion_{fill}": _NUMBER}
        columns |= _curve_columns("road_") | _curve_columns("token_") | {"saco": _NUMBER}
    return columns


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
    rows = []
    for method, explanation in explanations.items():
        numbers = _scores(images, explanation.heatmaps[:, 0], targets, job)
        numbers["heatmap"] = list(explanation.heatmaps[:, 0].cpu().numpy())
        for k, (i, target) in enumerate(entries):
            own = {name: values[k] for name, values in numbers.items()}
            rows.append(job.row("perturbation", items[i], method, target, predicted[k]) | own)
    return rows


def _scores(
    images: Float[Tensor, "batch 3 height width"],
    heatmaps: Float[Tensor, "batch rows columns"],
    targets: Int[Tensor, " batch"],
    job: Job,
) -> Numbers:
    module, steps, precision = job.model.module, job.settings.steps, job.settings.precision
    numbers = _curve_numbers(
        "", perturbation_curves(module, images, heatmaps, targets, steps, precision=precision)
    )
    if job.settings.protocol == "paper":
        return numbers
    for fill, filled in _FILLS.items():
        both = insertion_deletion(
            module, images, heatmaps, targets, filled(images), steps, precision=precision
        )
        numbers |= {f"insertion_{fill}": both.insertion.tolist(), f"deletion_{fill}": both.deletion.tolist()}
        numbers |= {
            f"auc_insertion_{fill}": both.auc_insertion.tolist(),
            f"auc_deletion_{fill}": both.auc_deletion.tolist(),
        }
    road = road_curves(module, images, heatmaps, targets, seed=job.settings.seed, precision=precision)
    numbers |= _curve_numbers("road_", road)
    dropped = _token_dropping(images, heatmaps, targets, job)
    if dropped is not None:
        numbers |= _curve_numbers("token_", dropped)
    numbers["saco"] = saco(module, images, heatmaps, targets, precision=precision).tolist()
    return numbers


def _token_dropping(images: Tensor, heatmaps: Tensor, targets: Tensor, job: Job) -> Curves | None:
    """None where it isn't defined: a model without a class token, or whose attention takes all tokens only."""
    module = job.model.module
    with preserved(module):
        layout = know(module, images, score_of(None, len(images), None), Overrides()).layout
    if not layout.blocks:
        return None
    block = module.get_submodule(layout.blocks[0])
    try:
        return token_dropping_curves(
            module,
            block,
            layout.grid,
            images,
            heatmaps,
            targets,
            job.settings.steps,
            precision=job.settings.precision,
        )
    except ModelError:
        return None


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

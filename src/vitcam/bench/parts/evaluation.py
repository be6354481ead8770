"""What evaluations cost: vitcam's against a loop that takes one image, one method, one pass at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vitcam.bench.limits import COMPARED, Limit
from vitcam.bench.measuring import Bench
from vitcam.bench.parts.generated import SIZE, box_of, generate_photographs, write_dataset
from vitcam.bench.results import Group
from vitcam.bench.subject import BenchSubject
from vitcam.bench.timing import FEW, Entry
from vitcam.evaluation import evaluate, localization_scores, perturbation_curves
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.protocol import protocol_preprocessing
from vitcam.explaining import explain
from vitcam.images import open_image
from vitcam.models import LoadedModel
from vitcam.recording import Precision, logits_of

LOCALIZED = 24
"""Photographs of the localization."""
PERTURBED = 8
"""Photographs of the perturbation test."""
STEPS = 10

_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def evaluation(bench: Bench) -> Iterator[Group]:
    """Two groups: localization by five methods, and the perturbation test of AGCAM."""
    with tempfile.TemporaryDirectory() as folder:
        yield _localization(bench, Path(folder))
        yield _perturbation(bench, Path(folder))


def _localization(bench: Bench, folder: Path) -> Group:
    title = f"Localization by {len(COMPARED)} methods, {LOCALIZED} photographs"
    batch = max(bench.settings.batches)
    photographs = generate_photographs(folder / "photographs", LOCALIZED)
    subject = bench.subject
    # Each photograph shows what the model predicts for it: photographs that it gets wrong aren't scored.
    names = tuple(f"thing-{i}" for i in range(subject.classes()))
    model = replace(subject.loaded, class_names=names, wordnet_ids=None, text_encoder=None)
    predicted = [int(explain(subject.module, _open(model, path)).targets) for path in photographs]
    write_dataset(folder / "dataset", photographs, [names[index] for index in predicted])
    runs = iter(range(10**6))

    def ours(precision: Precision) -> object:
        return evaluate(
            "localization",
            f"folder:{folder / 'dataset'}",
            model,
            COMPARED,
            folder / "runs" / str(next(runs)),
            batch_size=batch,
            precision=precision,
        )

    loop = "loop, fp32"
    entries = [Entry(loop, lambda: localize_one_by_one(model, photographs, "fp32"), LOCALIZED)]
    entries.append(
        Entry("loop, bf16", lambda: localize_one_by_one(model, photographs, "bf16"), LOCALIZED, loop)
    )
    for precision in _PRECISIONS:
        entries.append(Entry(f"vitcam evaluate, {precision}", partial(ours, precision), LOCALIZED, loop))
    notes = (
        "The loop decodes a photograph, explains it by each method for itself and scores the maps.",
        f"vitcam evaluate runs in batches of {batch}, and adds rows, intervals and the two controls.",
    )
    return Group("evaluation", title, bench.measure(title, entries, rounds=FEW, weigh=False), notes)


def localize_one_by_one(
    model: LoadedModel, photographs: Sequence[Path], precision: Precision
) -> list[dict[str, float]]:
    """The straightforward way: every photograph and every method for itself."""
    scores = []
    height, width = model.preprocessing.size
    scale = (width / SIZE[0], height / SIZE[1]) * 2
    for number, path in enumerate(photographs):
        image = _open(model, path)
        box = tuple(edge * factor for edge, factor in zip(box_of(number), scale, strict=True))
        for method in COMPARED:
            heatmap = explain(model.module, image, method, precision=precision).heatmaps[0, 0]
            scores.append(localization_scores(heatmap, [box], (height, width)))
    return scores


def _open(model: LoadedModel, path: Path) -> Tensor:
    prepared = replace(model, preprocessing=protocol_preprocessing("paper", model.preprocessing))
    return prepared.preprocess([open_image(path)])


def _perturbation(bench: Bench, folder: Path) -> Group:
    title = f"Perturbation test of AGCAM, {PERTURBED} images, {STEPS} steps"
    subject = bench.subject
    photographs = generate_photographs(folder / "photographs", PERTURBED)
    images = torch.cat([_open(subject.loaded, path) for path in photographs])
    targets = logits_of(subject.forward(images, "fp32")()).argmax(1)

    def ours(precision: Precision) -> Tensor:
        heatmaps = explain(subject.module, images, targets=targets, precision=precision).heatmaps[:, 0]
        curves = perturbation_curves(subject.module, images, heatmaps, targets, STEPS, precision=precision)
        return torch.stack([curves.morf, curves.lerf], dim=1)

    def difference() -> float:
        heatmaps = explain(subject.module, images, targets=targets).heatmaps[:, 0]
        each = zip(images.split(1), heatmaps.split(1), targets.split(1), strict=True)
        again = torch.cat([perturb_one_by_one(subject, *one, "fp32") for one in each])
        return float((again.double() - ours("fp32").double()).abs().max())

    def theirs(precision: Precision) -> list[Tensor]:
        probabilities = []
        for image, target in zip(images.split(1), targets.split(1), strict=True):
            heatmap = explain(subject.module, image, targets=target, precision=precision).heatmaps[:, 0]
            probabilities.append(perturb_one_by_one(subject, image, heatmap, target, precision))
        return probabilities

    loop = "loop, fp32"
    entries = [
        Entry(loop, lambda: theirs("fp32"), PERTURBED),
        Entry("loop, bf16", lambda: theirs("bf16"), PERTURBED, loop),
        Entry(
            "vitcam, fp32",
            lambda: ours("fp32"),
            PERTURBED,
            loop,
            (Limit("speed", 1.25, at_least=True), Limit("largest difference", 1e-3)),
            {"largest difference": difference},
        ),
        Entry(
            "vitcam, bf16",
            lambda: ours("bf16"),
            PERTURBED,
            loop,
            (Limit("speed", 3.5, at_least=True),) if bench.machine.bf16 else (),
        ),
    ]
    notes = (
        "The loop runs the model's own forward pass on one perturbed image at a time, both ends included.",
    )
    return Group("evaluation", title, bench.measure(title, entries, rounds=FEW, weigh=False), notes)


def perturb_one_by_one(
    subject: BenchSubject, image: Tensor, heatmap: Tensor, target: Tensor, precision: Precision
) -> Tensor:
    """MoRF and LeRF (1, 2, STEPS + 1) of one image by the authors' arithmetic: every point is a forward pass."""
    importance = pixel_maps(heatmap, (image.shape[-2], image.shape[-1])).flatten()
    curves = []
    for largest in (True, False):
        for step in range(STEPS + 1):
            chosen = importance.topk(len(importance) * step // STEPS, largest=largest, sorted=False).indices
            perturbed = image.flatten(2).index_fill(2, chosen, 0.0).view_as(image)
            probabilities = logits_of(subject.forward(perturbed, precision)()).float().softmax(-1)
            curves.append(probabilities[0, int(target)])
    return torch.stack(curves).view(1, 2, STEPS + 1)

"""How AGCAM's cost grows with the size of the image, the number of classes and the batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from vitcam.bench.measuring import Bench
from vitcam.bench.results import Group, Row
from vitcam.bench.subject import BenchSubject
from vitcam.bench.timing import FEW, Entry, describe
from vitcam.errors import BenchError
from vitcam.recording import logits_of

SIZES = (224, 448, 672, 896)
CLASSES = (1, 5, 20, 100)
BATCHES = (1, 2, 4, 8, 16)


def scaling(bench: Bench) -> Iterator[Group]:
    """Three groups: against image size, classes per image, and batch."""
    yield _sizes(bench)
    yield _classes(bench)
    yield _batches(bench)


def _sizes(bench: Bench) -> Group:
    title = f"AGCAM against image size, batch 1, {bench.settings.precision}"
    entries: list[Entry] = []
    unfit: list[Row] = []
    for size in SIZES:
        try:
            subject = at_size(bench.subject, size)
        except BenchError as error:
            unfit.append(Row(f"agcam, {size} px", "not applicable", describe(error)))
            continue
        images, forward = subject.images(1, size), f"forward, {size} px"
        tokens = f"{_tokens(subject, size)} patches"
        entries.append(Entry(forward, subject.forward(images), note=tokens))
        entries.append(Entry(f"agcam, {size} px", subject.explain(images, "agcam"), 1, forward))
    rows = bench.measure(title, entries, rounds=FEW) if entries else ()
    return Group("scaling", title, (*rows, *unfit))


def _classes(bench: Bench) -> Group:
    batch = max(bench.settings.batches)
    title = f"AGCAM against classes per image, batch {batch}, {bench.settings.precision}"
    subject = bench.subject
    images, known = subject.images(batch), subject.classes()
    entries = [Entry("forward", subject.forward(images), batch)]
    for number in sorted({min(number, known) for number in CLASSES}):
        targets = torch.arange(number, device=images.device).expand(batch, -1)
        run = subject.explain(images, "agcam", targets=targets)
        name = f"agcam, {number} class" + ("" if number == 1 else "es")
        entries.append(Entry(name, run, batch, "forward"))
    return Group("scaling", title, bench.measure(title, entries, rounds=FEW))


def _batches(bench: Bench) -> Group:
    title = f"AGCAM against batch, {bench.settings.precision}"
    subject, entries = bench.subject, list[Entry]()
    for batch in BATCHES:
        images, forward = subject.images(batch), f"forward, batch {batch}"
        entries.append(Entry(forward, subject.forward(images), batch))
        entries.append(Entry(f"agcam, batch {batch}", subject.explain(images, "agcam"), batch, forward))
    return Group("scaling", title, bench.measure(title, entries, rounds=FEW))


def at_size(subject: BenchSubject, size: int) -> BenchSubject:
    """The model for square images of another size: a copy with other position embeddings where it needs them.

    Raises:
        BenchError: it takes images of its own size only.
    """
    problem = _refusal(subject, size)
    if problem is None:
        return subject
    resize = "set_input_size"  # timm's way to other position embeddings
    if hasattr(subject.module, resize):
        module: nn.Module = copy.deepcopy(subject.module)
        getattr(module, resize)(img_size=(size, size))
        resized = replace(subject, loaded=replace(subject.loaded, module=module))
        if _refusal(resized, size) is None:
            return resized
    raise BenchError(f"{type(subject.module).__name__} doesn't take images of {size}×{size}: {problem}")


def _refusal(subject: BenchSubject, size: int) -> str | None:
    """Why a model takes no images of a size; None if it does."""
    try:
        logits_of(subject.forward(subject.images(1, size))())
    except (AssertionError, RuntimeError, ValueError) as error:  # what vendors raise for a wrong size
        return describe(error)
    return None


def _tokens(subject: BenchSubject, size: int) -> int:
    heatmaps = subject.explain(subject.images(1, size), "center")().heatmaps
    return int(heatmaps.shape[-2] * heatmaps.shape[-1])

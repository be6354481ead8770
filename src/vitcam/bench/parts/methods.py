"""Every method against the model's own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vitcam.bench.limits import IN_BF16, agcam_limits, bf16_limits, method_limits, top5_limits
from vitcam.bench.measuring import Bench
from vitcam.bench.results import Group
from vitcam.bench.timing import Entry
from vitcam.evaluation.metrics import similarity
from vitcam.methods import METHODS, canonical_name, find_method
from vitcam.recording import fast_linear, preserved

FORWARD = "forward"
ALL = "all"
"""In place of methods' names: every one at every batch."""
BRIEF = "brief"
"""In place of methods' names: every one, those that sample with few samples, which their rows name."""
_FEWER = {
    "rise": "budget=64",
    "shapley": "budget=64,cells=3",
    "tis": "budget=64",
    "scorecam": "budget=64",
    "captum:KernelShap": "n_samples=64",
    "captum:Lime": "n_samples=64",
    "captum:ShapleyValueSampling": "n_samples=1",
}


def forward_entries(bench: Bench, images: Tensor) -> list[Entry]:
    """The model's own forward pass; and with linear layers by oneDNN, where that is another way to its result."""
    subject, batch = bench.subject, len(images)
    entries = [Entry(FORWARD, subject.forward(images), batch)]
    if bench.settings.precision == "fp32" and images.device.type == "cpu":
        note = "the same with linear layers by oneDNN, as vitcam runs them"
        fast = _with_fast_linear(subject.module, subject.forward(images))
        entries.append(Entry("forward, oneDNN", fast, batch, FORWARD, note=note, same_as=FORWARD))
    return entries


def methods(bench: Bench) -> Iterator[Group]:
    """One group per batch.

    Methods that run the model hundreds of times take minutes: they are measured if they are asked for, by name or by
    "all". captum's others take one image at a time whatever the batch: likewise, or at the smallest batch only. So do
    those of many passes when it is asked for "brief", and they sample less.
    """
    for batch in dict.fromkeys(bench.settings.batches):
        asked = [canonical_name(*find_method(name)) for name in _named(bench, batch)]
        everything = [
            name
            for name, method in METHODS.items()
            if not method.many_passes and (not _of_captum(name) or batch == min(bench.settings.batches))
        ]
        title = f"Methods, batch {batch}, {bench.settings.precision}"
        entries = method_entries(bench, batch, asked or everything)
        yield Group("methods", title, bench.measure(title, entries))


def _named(bench: Bench, batch: int) -> list[str]:
    """The methods that are asked for at a batch; none where it is left to us."""
    given = bench.settings.methods
    if ALL in given:
        return list(METHODS)
    if BRIEF not in given:
        return list(given)
    smallest = batch == min(bench.settings.batches)
    return [
        f"{name}({_FEWER[name]})" if name in _FEWER else name
        for name, method in METHODS.items()
        if smallest or not (method.many_passes or _of_captum(name))
    ]


def method_entries(bench: Bench, batch: int, names: list[str]) -> list[Entry]:
    """The forward pass, AGCAM in its variants, and the other methods."""
    subject, precision = bench.subject, bench.settings.precision
    images = subject.images(batch)
    pixels = images.shape[-2] * images.shape[-1]
    entries = forward_entries(bench, images)
    if precision == "fp32":
        entries.append(Entry(IN_BF16, subject.forward(images, "bf16"), batch, FORWARD))
    for name in names:
        limits = agcam_limits(batch, pixels) if name == "agcam" else method_limits(name)
        entries.append(Entry(name, subject.explain(images, name), batch, FORWARD, limits))
        if name == "agcam":
            entries += _variants(bench, images)
    return entries


def _variants(bench: Bench, images: Tensor) -> list[Entry]:
    """AGCAM for five classes per image, and in bfloat16."""
    subject, batch = bench.subject, len(images)
    top = min(5, subject.classes())
    targets = torch.arange(top, device=images.device).expand(batch, -1)
    variants = [
        Entry(
            f"agcam, {top} classes",
            subject.explain(images, "agcam", targets=targets),
            batch,
            FORWARD,
            top5_limits(batch),
        )
    ]
    if bench.settings.precision == "fp32":
        in_bf16 = subject.explain(images, "agcam", precision="bf16")

        def alike() -> float:
            predicted = subject.explain(images, "agcam")()
            again = subject.explain(images, "agcam", precision="bf16", targets=predicted.targets)()
            return rank_correlation(predicted.heatmaps, again.heatmaps)

        limits = bf16_limits(batch, "AMX-BF16" in bench.machine.instruction_sets)
        variants.append(
            Entry("agcam, bf16", in_bf16, batch, FORWARD, limits, values={"rank correlation": alike})
        )
    return variants


def rank_correlation(maps: Tensor, others: Tensor) -> float:
    """Spearman's rank correlation of each map with its other, on average.

    Example:
        >>> rising, falling = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[[[9.0, 8.0, 1.0]]]])
        >>> round(rank_correlation(rising, falling), 3)
        -1.0
    """
    return float(similarity.rank_correlation(maps.flatten(0, 1), others.flatten(0, 1)).mean())


def _with_fast_linear(module: nn.Module, run: Callable[[], object]) -> Callable[[], object]:
    def fast() -> object:
        with preserved(module), fast_linear():
            return run()

    return fast


def _of_captum(name: str) -> bool:
    return name.startswith("captum:")

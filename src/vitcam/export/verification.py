"""Whether an exported file answers as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ExportError
from vitcam.explaining import Explanation, explain

TOLERANCE = 1e-3
TARGETS = 16  # so many of all classes are compared: PyTorch explains one after the other

Run = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Agreement:
    """How far an exported file is from PyTorch, at most, over all images and targets.

    Attributes:
        heatmaps: as a share of a heatmap's largest magnitude.
        logits: as a share of the spread of an image's logits.
    """

    heatmaps: float
    logits: float


def session(path: Path, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU; 0 threads: as many as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_file(path: Path) -> Run:
    """What an exported file answers, as tensors."""
    opened = session(path)

    def run(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, targets, heatmaps = opened.run(
            ["logits", "targets", "heatmaps"], {"images": np.ascontiguousarray(images.numpy())}
        )
        return torch.from_numpy(logits), torch.from_numpy(targets), torch.from_numpy(heatmaps)

    return run


def compare_answers(
    run: Run, model: nn.Module, images: Float[Tensor, "batch 3 height width"], method: str
) -> Agreement:
    """Compares with ``vitcam.explain``: the first image alone, then all of them together.

    Args:
        run: from images to logits, targets and heatmaps.
        model: what was exported.
        images: some.
        method: what was exported.

    Raises:
        ExportError: the two differ by more than 1e-3, or it doesn't explain the classes that it should.
    """
    found = [_compared(run, model, part, method) for part in (images[:1], images)]
    agreement = Agreement(max(a.heatmaps for a in found), max(a.logits for a in found))
    if not max(agreement.heatmaps, agreement.logits) <= TOLERANCE:  # also where it isn't a number
        raise ExportError(
            f"the exported model doesn't answer as PyTorch does: its heatmaps differ by "
            f"{agreement.heatmaps:.1e} of their maximum, its logits by {agreement.logits:.1e} of their spread; "
            f"{TOLERANCE:g} is allowed. Nothing was written"
        )
    return agreement


def _compared(run: Run, model: nn.Module, images: Tensor, method: str) -> Agreement:
    logits, targets, heatmaps = run(images)
    some = torch.linspace(0, targets.shape[1] - 1, min(TARGETS, targets.shape[1])).long()
    expected = explain(model, images, method=method, targets=targets[:, some])
    assert expected.logits is not None
    spread = expected.logits.amax(dim=1) - expected.logits.amin(dim=1)
    _check_targets(expected, targets, TOLERANCE * spread)
    highest = expected.heatmaps.abs().amax(dim=(2, 3)).clamp_min(torch.finfo(torch.float32).tiny)
    apart = (heatmaps[:, some] - expected.heatmaps).abs().amax(dim=(2, 3))
    return Agreement(
        heatmaps=float((apart / highest).max()),
        logits=float(((logits - expected.logits).abs().amax(dim=1) / spread).max()),
    )


def _check_targets(
    expected: Explanation, targets: Int[Tensor, "batch targets"], tolerance: Float[Tensor, " batch"]
) -> None:
    """All classes, or those of the highest logits; those as high as each other may change places."""
    logits, count = expected.logits, targets.shape[1]
    assert logits is not None
    if count == logits.shape[1]:
        right = torch.equal(targets, torch.arange(count).expand_as(targets))
    else:
        apart = (logits.gather(1, targets) - logits.topk(count, dim=1).values).abs().amax(dim=1)
        right = bool((apart <= tolerance).all())
    if not right:
        raise ExportError("the exported model explains other classes than PyTorch. Nothing was written")

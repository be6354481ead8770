"""What Quantus says of heatmaps: it is called from outside, nothing of it is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import RunError, VitcamError, is_out_of_memory
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import images_of, pixel_maps
from vitcam.evaluation.quantus_measures import make_metric
from vitcam.recording import Precision, autocast, fast_linear, logits_of, preserved


class Logits(nn.Module):
    """A model as Quantus takes it: from images to logits in float32.

    The model isn't a part of it: Quantus replaces the last ``nn.Softmax`` that it finds in one, which in a ViT may be
    an attention layer's.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        super().__init__()
        self._run = (model, precision)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        model, precision = self._run
        weights = next(model.parameters(), images)
        given = images.to(weights.device, weights.dtype)
        with autocast(given.device, precision), fast_linear():
            return logits_of(model(given)).float()


def quantus_scores(name: str, case: PerturbationCase) -> Numbers:
    """The columns of ``quantus:NAME``.

    Heatmaps are upsampled to the image (bilinear) and min-maxed, (1, 1, H, W) each. They are given one by one, with
    numpy's and torch's generators seeded each time, so that a batch gives what its images give one by one.

    Raises:
        RunError: the metric fails, or doesn't give a number or a curve for a heatmap.
    """
    images = case.images.float().cpu().numpy()
    maps = pixel_maps(case.heatmaps, (case.images.shape[2], case.images.shape[3])).cpu().numpy()
    targets = case.targets.cpu().numpy()
    device = case.images.device
    scores = []
    model = Logits(case.model, case.precision).eval()
    with preserved(case.model):
        for k, image in enumerate(images_of(case.images, case.heatmaps, case.targets)):
            given = {
                "x_batch": images[image : image + 1],
                "y_batch": targets[k : k + 1],
                "a_batch": maps[k : k + 1, None],
            }
            with _seeded(case.seed, device):
                scores.append(_asked(name, model=model, **given, channel_first=True, device=str(device)))
    points = [_points(name, score) for score in scores]
    numbers = [float(each.mean()) for each in points]
    columns: dict[str, list[Any]] = {name: [number if isfinite(number) else None for number in numbers]}
    if any(each.ndim for each in points):
        columns[f"{name} curve"] = [each.reshape(-1).tolist() for each in points]
    return columns


def _asked(name: str, **given: Any) -> Any:
    metric = make_metric(name)
    try:
        return metric(**given)
    except Exception as error:
        if isinstance(error, VitcamError) or is_out_of_memory(error):
            raise
        raise RunError(
            f"{name} failed: {type(error).__name__}: {error}\nvitcam gives it images, classes and heatmaps: metrics "
            "that need masks, or explanations of other images or models, can't be asked"
        ) from error


def _points(name: str, score: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of one heatmap, () or (points,)."""
    try:
        found = np.asarray(score, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RunError(
            f"{name} gives {score!r} for a heatmap: expected a number, or a list of numbers"
        ) from error
    found = found.reshape(found.shape[1:]) if found.ndim and len(found) == 1 else found
    if found.ndim > 1 or not found.size:
        raise RunError(
            f"{name} gives an array of {found.shape} for a heatmap: expected a number, or a list of numbers"
        )
    return found


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """numpy's and torch's generators, seeded inside the ``with``, and as they were after it."""
    before = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)

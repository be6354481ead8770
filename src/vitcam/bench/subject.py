"""A model as benchmarks use it: random weights, photographs, its own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.explaining import compare, explain
from vitcam.models import LoadedModel, load_model
from vitcam.models.device import find_device
from vitcam.photos import PHOTOS, photo_path
from vitcam.recording import Precision, autocast, logits_of

TEXTS = ("a photo of a cat", "a photo of a cup", "a photo of a dog", "a street at night", "a bowl of fruit")
"""What models are asked about that have no classes of their own."""


@dataclass(frozen=True)
class BenchSubject:
    """A model that is measured.

    Attributes:
        loaded: the model.
        precision: of its forward passes.
    """

    loaded: LoadedModel
    precision: Precision

    @property
    def module(self) -> nn.Module:
        return self.loaded.module

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def images(self, batch: int, size: int | None = None) -> Float[Tensor, "batch 3 height width"]:
        """The photographs that come with vitcam, over and over, each time shifted by some pixels.

        Args:
            batch: how many.
            size: height and width, where they aren't the model's own.
        """
        photographs = self.loaded.preprocess([photo_path(name) for name in PHOTOS])
        if size is not None:
            photographs = F.interpolate(photographs, (size, size), mode="bilinear", align_corners=False)
        shifted = [photographs[i % len(PHOTOS)].roll(8 * (i // len(PHOTOS)), dims=-1) for i in range(batch)]
        return torch.stack(shifted)

    def forward(self, images: Tensor, precision: Precision | None = None) -> Callable[[], Any]:
        """The model's own forward pass in inference mode, with nothing of vitcam around it."""

        def run() -> Any:
            with torch.inference_mode(), autocast(images.device, precision or self.precision):
                return self.module(images)

        return run

    def explain(self, images: Tensor, method: str, **options: Any) -> Callable[[], Any]:
        """An explanation by vitcam."""
        return partial(explain, self.module, images, method, **{"precision": self.precision, **options})

    def compare(self, images: Tensor, methods: Sequence[str]) -> Callable[[], Any]:
        """Several methods compared by vitcam."""
        return partial(compare, self.module, images, list(methods), precision=self.precision)

    def classes(self) -> int:
        """How many classes it has.

        Raises:
            ModelError: it returns no logits.
        """
        return logits_of(self.forward(self.images(1))()).shape[1]


def load_subject(spec: str, precision: Precision, device: str | None = None) -> BenchSubject:
    """Loads a model, and makes sure that it can be explained.

    Weights are random, so that nothing is downloaded; those of a file or of vitcam's own model are loaded.
    Matrices that the vendor starts with zeros (torchvision's head) get random values: with zeros there would be
    no gradient to explain by.

    Raises:
        ModelError: there is no such model or device, or it has no attention to be explained by.

    Example:
        >>> load_subject("embedded:photo", "fp32").images(2).shape
        torch.Size([2, 3, 168, 168])
    """
    where = find_device("cpu" if device is None else device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loaded = load_model(spec, pretrained=spec.startswith("embedded:"))
        loaded.check_photographs("a benchmark")
        if loaded.promptable:
            loaded = loaded.with_prompts(TEXTS)
        for parameter in loaded.module.parameters():
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    subject = BenchSubject(replace(loaded, module=loaded.module.to(where)), precision)
    try:
        explain(subject.module, subject.images(1))
    except ModelError as error:
        raise ModelError(f"{spec} can't be benchmarked, since it can't be explained: {error}") from error
    return subject

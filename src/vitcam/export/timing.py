"""What the heatmaps cost in ONNX Runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from vitcam.explaining import AnyModel
from vitcam.export.graph import require, write_graph
from vitcam.export.verification import session
from vitcam.models.device import on_device
from vitcam.models.loaded import LoadedModel
from vitcam.recording import logits_of, preserved


@dataclass(frozen=True)
class Cost:
    """CPU time of one image in ONNX Runtime with one thread, medians in seconds.

    Attributes:
        plain: of the model as torch exports it, which answers with logits only.
        explained: of the exported file.
    """

    plain: float
    explained: float

    @property
    def ratio(self) -> float:
        """How many times the plain model's time it takes."""
        return self.explained / self.plain


def measure_cost(model: AnyModel, path: str | Path, rounds: int = 15) -> Cost:
    """Times an exported file against the same model exported plainly, taking turns.

    Args:
        model: what was exported.
        path: the exported file.
        rounds: how often each is run.

    Raises:
        ExportError: a package is missing.

    Example:
        >>> from vitcam.export import export_onnx
        >>> exported = export_onnx(photo_model, "photo.onnx", verify=False)
        >>> cost = measure_cost(photo_model, exported.path, rounds=3)
        >>> cost.ratio > 0  # 1.1: heatmaps take a tenth more time
        True
    """
    require("onnx", "onnxscript", "onnxruntime")
    module = model.module if isinstance(model, LoadedModel) else model
    explained = session(Path(path), threads=1)
    _, _, height, width = explained.get_inputs()[0].shape
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "plain.onnx"
        with on_device(module, "cpu"), preserved(module):
            write_graph(_Logits(module).eval(), images, ["logits"], file)
        plain = session(file, threads=1)
    one = {"images": images[:1].numpy()}
    seconds: dict[str, list[float]] = {"plain": [], "explained": []}
    for _ in range(rounds + 1):
        for name, opened in (("plain", plain), ("explained", explained)):
            start = time.process_time()
            opened.run(None, one)
            seconds[name].append(time.process_time() - start)
    # The first run is slower than all others.
    return Cost(**{name: median(spent[1:]) for name, spent in seconds.items()})


class _Logits(nn.Module):
    """The model as a function from images to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.model(images))

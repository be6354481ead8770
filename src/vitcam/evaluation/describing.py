"""What ``run.json`` says of a run as it begins."""

from __future__ import annotations

import zlib
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from platform import platform, python_version
from typing import Any

import torch
from torch import nn

from vitcam.evaluation.datasets import ClassMatch, Dataset
from vitcam.evaluation.datasets.digests import digest_of
from vitcam.evaluation.plan import Plan
from vitcam.evaluation.settings import RANDOM, RunSettings
from vitcam.evaluation.store import FORMAT
from vitcam.inputs import arranged_shape
from vitcam.models import LoadedModel, Preprocessing


def describe_run(
    settings: RunSettings, dataset: Dataset, model: LoadedModel, match: ClassMatch, plan: Plan, data: str
) -> dict[str, Any]:
    """The content of ``run.json``."""
    return {
        "format": FORMAT,
        **asdict(settings),
        "methods": list(settings.methods),
        "tests": [name for task in settings.tasks for name in settings.tests_of(task)],
        "thresholds": list(settings.thresholds),
        "fractions": list(settings.fractions),
        "data": data,
        "dataset": {
            "kind": dataset.kind,
            "fingerprint": dataset.fingerprint,
            "contents": digest_of(*(annotation.encode() for annotation in plan.annotations)),
            "photographs": len(dataset),
            **({} if dataset.holds == "photographs" else {"holds": dataset.holds}),
            "classes": len(dataset.classes),
            "notes": list(dataset.notes),
            **({} if dataset.explained == "predicted" else {"explained": dataset.explained}),
        },
        "model": {
            "spec": model.spec,
            "weights": weights_fingerprint(model.module),
            "input": _input_of(model),
            "preprocessing": str(model.preprocessing),
            "multi_label": model.multi_label,
        },
        "class_match": match.sentence,
        "images": len(plan.indices),
        **({"order": RANDOM} if plan.order else {}),
        "unmatched": plan.unmatched,
        "versions": _versions(),
        "environment": {
            "python": python_version(),
            "platform": platform(),
            "polars": version("polars"),
            "threads": torch.get_num_threads(),  # on which the last digits of torch's results depend
        },
    }


def weights_fingerprint(module: nn.Module) -> str:
    """8 hexadecimal digits of a model's weights and buffers."""
    checksum = 0
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        checksum = zlib.crc32(memoryview(values.numpy()), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"


def _input_of(model: LoadedModel) -> dict[str, Any]:
    """What the model takes: of photographs the size, of other inputs their kind, and the length of each axis."""
    own: Any = model.preprocessing
    if isinstance(own, Preprocessing):
        height, width = own.size
        return {"width": width, "height": height}
    channels, *lengths = arranged_shape(own.shape, own.order)
    return {"kind": own.kind.name, "channels": channels, **dict(zip(own.kind.axes, lengths, strict=True))}


def _versions() -> dict[str, str | None]:
    """Of what computes a run's numbers; None for what isn't installed."""
    versions: dict[str, str | None] = {}
    for name in ("vitcam", "torch", "timm", "transformers"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions

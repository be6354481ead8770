"""Trains a linear head for a dataset's classes on the features of a frozen model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitcam.errors import RunError
from vitcam.evaluation.datasets import Dataset, open_dataset
from vitcam.evaluation.describing import weights_fingerprint
from vitcam.evaluation.loading import Item, Photographs, Unreadable, load_batches
from vitcam.models import LoadedModel, load_model
from vitcam.models.head import LinearHead, feature_extractor, find_classifier, head_bytes
from vitcam.writing import write_whole

_ITERATIONS = 300


@dataclass(frozen=True)
class TrainedHead:
    """What came of a training.

    Attributes:
        path: the head's file.
        classes: how many it has.
        trained: photographs that it was fitted to.
        held_out: photographs that it was measured on.
        accuracy: the share of those whose most probable class is (one of) theirs.
        mean_average_precision: over the classes, of those photographs; None unless multi-label.
        unreadable: photographs left out because they can't be read.
        multi_label: whether the probabilities are sigmoids.
        untaught: names of the classes that no photograph it was fitted to shows.
    """

    path: Path
    classes: int
    trained: int
    held_out: int
    accuracy: float
    mean_average_precision: float | None
    unreadable: int
    multi_label: bool
    untaught: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    features: Float[Tensor, "images features"]
    truth: Bool[Tensor, "images classes"]
    unreadable: Int[Tensor, " others"]  # which photographs of the dataset aren't there


def train_head(
    model: str | LoadedModel,
    data: str | Dataset,
    output: str | Path,
    *,
    held_out: float = 0.2,
    weight_decay: float = 1e-2,
    batch_size: int = 16,
    seed: int = 0,
    workers: int = 1,
    device: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainedHead:
    """Trains a linear head on a frozen model, so that it knows a dataset's classes.

    It takes the place of the model's own classifier (or is put on top of a model without one) and is loaded
    as ``SPEC+HEAD.safetensors``. Features are computed once and kept in ``HEAD.features.safetensors`` beside
    it. Where photographs show several classes, each class gets a sigmoid, else all share a softmax. Minimises
    cross-entropy + weight_decay/2·‖W‖² over standardised features with L-BFGS; only the split is random.

    Args:
        model: a specification, or a loaded model.
        data: ``KIND:PATH``, or a dataset.
        output: the head's file, ``*.safetensors``.
        held_out: the share of the photographs that the accuracy is measured on, and that isn't trained on.
        weight_decay: how strongly large weights are held down.
        batch_size: photographs that go through the model at once.
        seed: of the split.
        workers: threads that read photographs ahead.
        device: such as "cuda"; None for where the model is.
        data_options: what the dataset's reader can be told.
        progress: is called with (done, total) photographs.

    Raises:
        RunError: a setting makes no sense, too few photographs can be read, or a file can't be written.
        DatasetError, ModelError: as from ``open_dataset`` and ``load_model``.

    Example:
        >>> train_head("embedded:photo", "folder:things", "things.safetensors", held_out=0.3).held_out
        4
        >>> vitcam.load_model("embedded:photo+things.safetensors").class_names
        ('cat', 'cup', 'face')
    """
    path = Path(output)
    if path.suffix != ".safetensors":
        raise RunError(f"a head is written as NAME.safetensors; got {path}")
    if not path.parent.is_dir():
        raise RunError(f"there is no folder {path.parent} to write {path.name} into")
    if not 0 < held_out < 1:
        raise RunError(f"held_out must be a share between 0 and 1; got {held_out}")
    dataset = open_dataset(data, **(data_options or {})) if isinstance(data, str) else data
    loaded = load_model(model, device=device) if isinstance(model, str) else model
    loaded.check_photographs("training a head")
    layer = find_classifier(loaded)
    table = _cached_features(path, loaded, layer, dataset, batch_size, workers, progress)
    images, classes = table.truth.shape
    test = torch.randperm(images, generator=torch.Generator().manual_seed(seed))[: round(images * held_out)]
    if len(test) in (0, images) or classes < 2:
        raise RunError(
            f"a head needs two classes or more, and photographs to train and to measure it on; got {classes} "
            f"classes and {images} photographs that can be read, {len(test)} of them held out"
        )
    training = torch.ones(images, dtype=torch.bool).index_fill_(0, test, False)
    multi_label = bool((table.truth.sum(1) > 1).any())
    weight, bias = _fit(table.features[training], table.truth[training], multi_label, weight_decay)
    ids = tuple((item.wordnet_id,) if item.wordnet_id else () for item in dataset.classes)
    names = tuple(item.name for item in dataset.classes)
    head = LinearHead(weight, bias, loaded.spec, layer, names, ids if any(ids) else None, multi_label)
    write_whole(path, head_bytes(head))
    logits, truth = F.linear(table.features[test], weight, bias), table.truth[test]
    return TrainedHead(
        path=path,
        classes=classes,
        trained=images - len(test),
        held_out=len(test),
        accuracy=truth.gather(1, logits.argmax(1, keepdim=True)).double().mean().item(),
        mean_average_precision=mean_average_precision(logits, truth) if multi_label else None,
        unreadable=len(table.unreadable),
        multi_label=multi_label,
        untaught=tuple(
            name for name, taught in zip(names, table.truth[training].any(0), strict=True) if not taught
        ),
    )


def mean_average_precision(
    scores: Float[Tensor, "images classes"], truth: Bool[Tensor, "images classes"]
) -> float:
    """The mean over classes of Σ_k precision@k·[the k-th is right] / positives; classes without any don't count.

    Example:
        >>> mean_average_precision(torch.tensor([[0.9], [0.5]]), torch.tensor([[False], [True]]))
        0.5
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    hits = truth.gather(0, order).double()
    ranks = torch.arange(1, len(hits) + 1, dtype=torch.float64)[:, None]
    precisions = (hits * hits.cumsum(0) / ranks).sum(0)
    positives = hits.sum(0)
    return (precisions[positives > 0] / positives[positives > 0]).mean().item()


def _fit(
    features: Float[Tensor, "images features"],
    truth: Bool[Tensor, "images classes"],
    multi_label: bool,
    weight_decay: float,
) -> tuple[Float[Tensor, "classes features"], Float[Tensor, " classes"]]:
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    standardised = (features - mean) / std
    weight = torch.zeros(truth.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(truth.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )
    wanted = truth.float()

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(standardised, weight, bias)
        if multi_label:
            loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1).mean()
        else:
            loss = F.cross_entropy(logits, wanted)
        loss = loss + weight_decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    unscaled = weight.detach() / std
    return unscaled, bias.detach() - unscaled @ mean


def _cached_features(
    head: Path,
    model: LoadedModel,
    layer: str,
    dataset: Dataset,
    batch_size: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> _Table:
    """The features of all photographs, from the file beside the head if they are the same ones."""
    path = head.with_suffix(".features.safetensors")
    key = {
        "model": json.dumps([weights_fingerprint(model.module), layer, str(model.preprocessing)]),
        "dataset": dataset.fingerprint,
    }
    photographs = Photographs(dataset, range(len(dataset.classes)), model.preprocessing, with_truth=False)
    table = _stored_features(path, key)
    if table and all(isinstance(photographs[index], Unreadable) for index in table.unreadable.tolist()):
        return table
    table = _compute_features(model, layer, dataset, photographs, batch_size, workers, progress)
    write_whole(path, save({**vars(table), "truth": table.truth.to(torch.uint8)}, key))
    return table


def _stored_features(path: Path, key: Mapping[str, str]) -> _Table | None:
    """None if they are of something else, or damaged: they can be computed again."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata() != key:
                return None
            features, truth, unreadable = map(file.get_tensor, ("features", "truth", "unreadable"))
    except (SafetensorError, OSError):
        return None
    return _Table(features, truth.bool(), unreadable)


def _compute_features(
    model: LoadedModel,
    layer: str,
    dataset: Dataset,
    photographs: Photographs,
    batch_size: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> _Table:
    total = len(dataset)
    batches = [range(first, min(first + batch_size, total)) for first in range(0, total, batch_size)]
    device = next(model.module.parameters()).device
    features, truth, unreadable = [], [], []
    done = 0
    with torch.no_grad(), feature_extractor(model, layer) as extract:
        for batch in load_batches(photographs, batches, workers):
            items = [item for item in batch if isinstance(item, Item)]
            if items:
                images = torch.stack([item.pixels for item in items]).to(device)
                features.append(extract(images).float().cpu())
                truth += [[label in item.labels for label in range(len(dataset.classes))] for item in items]
            unreadable += [done + i for i, item in enumerate(batch) if isinstance(item, Unreadable)]
            done += len(batch)
            progress(done, total)
    if not features:
        raise RunError(f"none of the {total} photographs of {dataset.root} can be read")
    return _Table(
        torch.cat(features).clone(), torch.tensor(truth), torch.tensor(unreadable, dtype=torch.int64)
    )

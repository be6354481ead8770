"""Tries maps at AGCAM's price: one is chosen on some photographs, and reported on others. See docs/better-map.md.

Every candidate of ``map_candidates`` is measured on one set, a file per candidate; repeated, a command goes on::

    python tools/search_maps.py perturb --data tiny-imagenet:DIR --set select --output FOLDER [--seconds N]
    python tools/search_maps.py locate --data tiny-imagenet:DIR --set select --output FOLDER
    python tools/search_maps.py heads --data tiny-imagenet:DIR --output FOLDER       (of cut models: --model cut:3)
    python tools/search_maps.py tables --output FOLDER
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from map_candidates import CANDIDATES
from torch import Tensor, nn

import vitcam
from vitcam.evaluation import open_dataset, perturbation_curves
from vitcam.evaluation.datasets import Dataset, match_classes
from vitcam.evaluation.loading import Item, Photographs
from vitcam.evaluation.metrics.localization import localization_sweep
from vitcam.evaluation.metrics.pointing import pointing_game
from vitcam.evaluation.protocol import protocol_preprocessing
from vitcam.evaluation.statistics import bootstrap_interval, paired_difference
from vitcam.evaluation.train_head import train_head
from vitcam.methods import METHODS
from vitcam.models import LoadedModel

SETS = {"select": slice(0, 300), "report": slice(300, None)}
"""Of the photographs whose class the embedded model knows, in an order drawn once: a map is chosen on the one, and
reported on the other. Heads of cut models are trained on all but the first ``SHARED`` of the latter."""
SHARED = 300
PERTURBED = {"select": 64, "report": 96}
"""How many of them the perturbation test is made on: it takes 18 passes per map."""
OTHERS = ("gae", "attnlrp", "gradsam", "center")
COMPARED = ("agcam", "gae", "attnlrp")
THRESHOLDS = tuple(step / 50 for step in range(50))
BATCH = 16
CUT = {"cut:3": (3, "token"), "cut:4": (4, "token"), "cut:5": (5, "token"), "averaged": (6, "avg")}
"""Versions of ``embedded:photo``: how many blocks, and what the head reads."""


def cut_model(name: str) -> LoadedModel:
    """A version of the embedded model, its head still that of the whole."""
    whole = vitcam.load_model("embedded:photo")
    blocks, pool = CUT[name]
    module = whole.module
    module.blocks = nn.Sequential(*list(module.blocks)[:blocks])
    module.global_pool = pool
    return replace(whole, spec="embedded:photo")


def open_model(spec: str, heads: Path) -> LoadedModel:
    """``cut:3``, ``averaged``, ``size:112``, or any specification."""
    if spec.startswith("size:"):
        whole = vitcam.load_model("embedded:photo")
        side = int(spec.removeprefix("size:"))
        return replace(whole, preprocessing=replace(whole.preprocessing, size=(side, side), resize=None))
    if spec not in CUT:
        return vitcam.load_model(spec)
    from vitcam.models.head import read_head

    model, head = cut_model(spec), read_head(_head(heads, spec))
    linear = nn.Linear(head.weight.shape[1], head.weight.shape[0])
    linear.load_state_dict({"weight": head.weight, "bias": head.bias})
    model.module.head = linear
    return replace(model, class_names=head.class_names, wordnet_ids=head.wordnet_ids)


def part(data: str, which: str) -> Dataset:
    """The photographs of a set, or those that heads are trained on."""
    whole, model = open_dataset(data), vitcam.load_model("embedded:photo")
    known = match_classes(whole.classes, model.class_names, model.wordnet_ids).model_indices
    fitting = [record for record in whole.records if known[record.label] is not None]
    order = np.random.default_rng(2402).permutation(len(fitting)).tolist()
    if which == "heads":
        first = SETS["report"].start
        del order[first : first + SHARED]
    chosen = order[SETS.get(which, slice(None))]
    return replace(whole, records=tuple(fitting[index] for index in chosen))


def maps_of(model: nn.Module, images: Tensor, targets: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """(batch, rows, columns) of each candidate or method; what shares a score shares its passes."""
    with torch.no_grad():
        others = model(images).scatter(1, targets[:, None], -torch.inf).argmax(dim=1)
    found: dict[str, Tensor] = {}
    for versus in (False, True):
        chosen = [name for name in names if (name in CANDIDATES and CANDIDATES[name].versus) == versus]
        if chosen:
            for name in chosen:
                if name in CANDIDATES and name not in METHODS:
                    METHODS[name] = CANDIDATES[name].as_method(name)
            given = others if versus else None
            found |= {
                name: explanation.heatmaps[:, 0]
                for name, explanation in vitcam.compare(model, images, chosen, targets, versus=given).items()
            }
    return found


def batches(model: LoadedModel, dataset: Dataset, count: int) -> Iterator[tuple[list[Item], Tensor, Tensor]]:
    """The first photographs prepared as by the paper's protocol: items, images, true classes."""
    match = match_classes(dataset.classes, model.class_names, model.wordnet_ids)
    how = protocol_preprocessing("paper", model.preprocessing)
    photographs = Photographs(dataset, match.model_indices, how, with_truth=True)
    for start in range(0, count, BATCH):
        read = (photographs[index] for index in range(start, min(start + BATCH, count)))
        items = [item for item in read if isinstance(item, Item)]
        targets = torch.tensor([next(iter(item.labels)) for item in items])
        yield items, torch.stack([item.pixels for item in items]), targets


def perturb(given: argparse.Namespace, names: Sequence[str]) -> None:
    """The paper's perturbation test, one candidate after the other while there is time."""
    begun = time.monotonic()
    todo = [name for name in names if not _file(given, "abpc", name).exists()]
    if not todo:
        print("0 left")
        return
    model = open_model(given.model, given.output)
    loaded = list(batches(model, part(given.data, given.set), given.perturbed or PERTURBED[given.set]))
    while todo and time.monotonic() - begun < given.seconds:
        name, scores = todo.pop(0), []
        for _, images, targets in loaded:
            maps = maps_of(model.module, images, targets, [name])[name]
            scores.append(
                perturbation_curves(model.module, images, maps, targets, precision=given.precision).abpc
            )
        _save(given, "abpc", name, torch.cat(scores))
    print(f"{len(todo)} left")


def locate(given: argparse.Namespace, names: Sequence[str]) -> None:
    """IoU by threshold, and pointing, of the photographs that are predicted right."""
    names = [name for name in names if not _file(given, "iou", name).exists()]
    if not names:
        return
    model, dataset = open_model(given.model, given.output), part(given.data, given.set)
    found: dict[tuple[str, str], list[Tensor]] = {}
    for items, images, targets in batches(model, dataset, given.located or len(dataset)):
        with torch.no_grad():
            right = (model.module(images).argmax(dim=1) == targets).nonzero().flatten()
        truths = [items[place].truths[int(targets[place])] for place in right.tolist()]
        regions = torch.from_numpy(np.stack([truth.region for truth in truths]))
        boxes, size = [truth.boxes for truth in truths], (images.shape[2], images.shape[3])
        for name, maps in maps_of(model.module, images[right], targets[right], names).items():
            sweep = localization_sweep(maps, boxes, size, THRESHOLDS)["iou"]
            found.setdefault(("iou", name), []).append(sweep)
            found.setdefault(("pointing", name), []).append(pointing_game(maps, regions).double())
    for (what, name), parts in found.items():
        _save(given, what, name, torch.cat(parts))


def _save(given: argparse.Namespace, what: str, name: str, numbers: Tensor) -> None:
    file = _file(given, what, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, numbers.numpy())


def _file(given: argparse.Namespace, what: str, name: str) -> Path:
    return given.output / given.model.replace(":", "-") / given.set / what / f"{name}.npy"


def _head(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(':', '-')}.safetensors"


def train_heads(given: argparse.Namespace, names: Sequence[str]) -> None:
    """A head for each cut model, of the classes of the photographs of neither set."""
    dataset = part(given.data, "heads")
    for name in [given.model] if given.model in CUT else CUT:
        trained = train_head(cut_model(name), dataset, _head(given.output, name), held_out=0.2)
        print(f"{name}: accuracy {trained.accuracy:.2f} on {trained.held_out} photographs held out")


def tables(given: argparse.Namespace, names: Sequence[str]) -> None:
    """A table for the model and the set: means with intervals, and paired differences from each of ``COMPARED``."""
    against = given.against or COMPARED
    intervals = "".join(f" ABPC − {name} | IoU − {name} |" for name in against)
    print(f"| map | formula | ABPC | best IoU | pointing |{intervals}")
    print("|---|---|--:|--:|--:|" + "--:|--:|" * len(against))
    rows = sorted((row for name in names if (row := _row(given, name))), reverse=True)
    print("\n".join(text for _, text in rows))


def _row(given: argparse.Namespace, name: str) -> tuple[float, str] | None:
    iou = _best(given, name)
    if iou is None:
        return None
    abpc, pointing = _stored(given, "abpc", name), _stored(given, "pointing", name)
    formula = CANDIDATES[name].formula if name in CANDIDATES else ""
    cells = [name, formula, *(_mean(values) for values in (abpc, iou, pointing))]
    for other in given.against or COMPARED:
        cells += [_difference(abpc, _stored(given, "abpc", other)), _difference(iou, _best(given, other))]
    total = float(iou.mean()) + (0 if abpc is None else float(abpc.mean()))
    return total, f"| {' | '.join(cells)} |"


def _best(given: argparse.Namespace, name: str) -> np.ndarray | None:
    """The IoU of each photograph at the threshold that is best for all together."""
    found = _stored(given, "iou", name)
    return None if found is None else found[:, found.mean(axis=0).argmax()]


def _stored(given: argparse.Namespace, what: str, name: str) -> np.ndarray | None:
    file = _file(given, what, name)
    return np.load(file) if file.exists() else None


def _mean(values: np.ndarray | None) -> str:
    if values is None:
        return "–"
    interval = bootstrap_interval(values)
    return f"{float(interval.mean):.3f} ({float(interval.low):.3f} – {float(interval.high):.3f})"


def _difference(values: np.ndarray | None, others: np.ndarray | None) -> str:
    """With the interval and the p-value of the paired permutation test; "–" where there is nothing to compare."""
    if values is None or others is None or np.array_equal(values, others):
        return "–"
    found = paired_difference(values, others)
    mean, low, high = (float(end) for end in (found.interval.mean, found.interval.low, found.interval.high))
    return f"{mean:+.3f} ({low:+.3f} – {high:+.3f}), p = {float(found.p_value):.2g}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["perturb", "locate", "heads", "tables"])
    parser.add_argument("--data", help="KIND:DIR")
    parser.add_argument("--set", choices=list(SETS), default="select")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="embedded:photo")
    parser.add_argument("--method", action="append", help="all candidates if none is given; repeat it")
    parser.add_argument("--against", action="append", help="what tables compare with; repeat it")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--perturbed", type=int, help="photographs of the perturbation test")
    parser.add_argument("--located", type=int, help="photographs of localization")
    parser.add_argument("--precision", default="fp32")
    given = parser.parse_args(arguments)
    names = given.method or [*CANDIDATES, *OTHERS]
    commands = {"perturb": perturb, "locate": locate, "heads": train_heads, "tables": tables}
    commands[given.command](given, names)


if __name__ == "__main__":
    main(sys.argv[1:])

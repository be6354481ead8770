"""Mosaics of photographs that the model of a run is sure of, chosen once and stored with the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from vitcam.errors import DatasetError, ImageError, RunError, is_out_of_memory
from vitcam.evaluation.datasets import ClassMatch, Dataset
from vitcam.evaluation.datasets.digests import digest_of
from vitcam.evaluation.datasets.mosaic import Mosaics
from vitcam.evaluation.datasets.tiles import Tile
from vitcam.evaluation.metrics.probabilities import class_probabilities
from vitcam.evaluation.parts import write_stored
from vitcam.evaluation.store import CHOSEN, RunFolder
from vitcam.models import LoadedModel
from vitcam.recording import Precision, preserved

FORWARD = 16
"""Photographs that are classified at once: whatever the run's batches, so that the choice doesn't depend on them."""


@dataclass(frozen=True)
class Fitted:
    """A dataset as a run's model sees it, that model, and what is to be kept of the choice.

    Attributes:
        dataset: mosaics of photographs that the model is sure of; any other dataset is itself.
        model: that takes them.
        choice: what ``keep`` stores; None where nothing was chosen.
    """

    dataset: Dataset
    model: LoadedModel
    choice: dict[str, Any] | None = None

    def keep(self, folder: RunFolder) -> None:
        """Stores the choice as the run begins, so that it goes on with the same mosaics on any machine.

        Raises:
            RunError: it can't be written.
        """
        file = folder.path / CHOSEN
        if self.choice is not None and not (folder.path / "run.json").exists():
            write_stored(file, (json.dumps(self.choice, indent=1, ensure_ascii=False) + "\n").encode())


def fitted(
    dataset: Dataset, model: LoadedModel, match: ClassMatch, precision: Precision, folder: RunFolder
) -> Fitted:
    """The dataset as the model of a run sees it.

    Args:
        dataset: mosaics, or any other.
        model: with the protocol's preprocessing.
        match: of the dataset's classes with the model's.
        precision: of forward passes.
        folder: of the run; if it was begun, its choice is taken.

    Raises:
        DatasetError: no mosaic can be composed of photographs that the model is sure of.
        RunError: the stored choice is damaged.
    """
    plan = dataset.mosaics
    if not isinstance(plan, Mosaics):
        return Fitted(dataset, model)
    same = {label: index for label, index in enumerate(match.model_indices) if index is not None}
    of = digest_of(
        repr((plan.base.fingerprint, plan.seed, plan.count, plan.grid, plan.kind, plan.confidence)).encode()
    )
    stored = _stored(folder)
    if stored is not None and stored["of"] == of:
        ids = {id: index for index, id in enumerate(plan.base.ids)}
        photographs = [Tile(ids[id], id, label) for id, label in stored["photographs"] if id in ids]
        unreadable = [str(id) for id in stored["unreadable"]]
    else:
        photographs, unreadable = _sure(plan, model, same, precision)
    large, note = _large(plan, model)
    notes = (_said(plan), note, *_left_out(unreadable))
    mosaics = plan.dataset(photographs, model.preprocessing.view, same, notes)
    choice = {"of": of, "photographs": [[tile.id, tile.label] for tile in photographs]}
    choice["unreadable"] = unreadable
    return Fitted(mosaics, large, choice)


def _sure(
    plan: Mosaics, model: LoadedModel, same: Mapping[int, int], precision: Precision
) -> tuple[list[Tile], list[str]]:
    """Photographs that the model classifies rightly with the wanted probability, enough for the wanted mosaics, and
    the ids of those that can't be read.
    """
    wanted = plan.count * plan.grid**2
    found: list[Tile] = []
    unreadable: list[str] = []
    known = (tile for tile in plan.drawn() if tile.label in same)
    while tiles := list(islice(known, FORWARD)):
        found += _rightly_sure(tiles, unreadable, plan, model, same, precision) if plan.confidence else tiles
        if len(found) >= wanted and len(plan.composed(found, same)) == plan.count:
            break
    return found, unreadable


def _rightly_sure(
    tiles: list[Tile],
    unreadable: list[str],
    plan: Mosaics,
    model: LoadedModel,
    same: Mapping[int, int],
    precision: Precision,
) -> list[Tile]:
    readable, inputs = [], []
    for tile in tiles:
        try:
            inputs.append(model.preprocessing(plan.base[tile.number].image()))
            readable.append(tile)
        except (ImageError, DatasetError):
            unreadable.append(tile.id)
    if not readable:
        return []
    images = torch.stack(inputs).to(next(model.module.parameters()).device)
    probabilities = class_probabilities(
        model.module,
        lambda part: images[part.start : part.stop],
        len(images),
        multi_label=model.multi_label,
        precision=precision,
    )
    highest, predicted = probabilities.max(dim=1)
    judged = zip(readable, highest.tolist(), predicted.tolist(), strict=True)
    return [tile for tile, share, index in judged if index == same[tile.label] and share >= plan.confidence]


def _large(plan: Mosaics, model: LoadedModel) -> tuple[LoadedModel, str]:
    """The model taking whole mosaics, and how large their tiles are then, for people."""
    own = model.preprocessing
    height, width = own.size
    whole = replace(own, resize_mode="squash", resize=None, arithmetic="pil")
    large = replace(whole, size=(plan.grid * height, plan.grid * width))
    why = _why_not(model, large.size) if plan.tiles != "small" else "that was asked for (tiles=small)"
    if not why:
        return replace(model, preprocessing=large), (
            f"the model sees mosaics of {large.size[1]}×{large.size[0]} pixels, whose tiles are as large as its "
            f"input, "
            f"{width}×{height}"
        )
    if plan.tiles == "own":
        raise DatasetError(
            f"tiles can't be as large as the model's input, {width}×{height}: {why}. Leave --data-option "
            f"tiles=own out, "
            "and they are downscaled"
        )
    return replace(model, preprocessing=whole), (
        f"tiles are downscaled, {plan.grid} times in height and width, so that a mosaic is as large as the "
        f"model's input, "
        f"{width}×{height}: {why}"
    )


def _why_not(model: LoadedModel, size: tuple[int, int]) -> str:
    """Why a model takes no images of a size; "" if it does."""
    parameter = next(model.module.parameters())
    try:
        with torch.no_grad(), preserved(model.module):
            model.module(parameter.new_zeros(1, 3, *size))
    except Exception as error:  # models refuse a size by any kind of error
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:120]
        return f"it takes no {size[1]}×{size[0]} images ({reason})"
    return ""


def _said(plan: Mosaics) -> str:
    which = (
        f"that the model classifies rightly with a probability of {plan.confidence:g} or more"
        if plan.confidence
        else "of classes that the model knows"
    )
    return f"mosaics of {plan.grid}×{plan.grid} photographs {which}, drawn with seed {plan.seed}"


def _left_out(unreadable: list[str]) -> tuple[str, ...]:
    if not unreadable:
        return ()
    return (
        f"photographs that can't be read, and so are no tiles: {len(unreadable)}, the first {unreadable[0]}",
    )


def _stored(folder: RunFolder) -> dict[str, Any] | None:
    file = folder.path / CHOSEN
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        photographs = [(str(id), int(label)) for id, label in content["photographs"]]
        return {"of": content["of"], "photographs": photographs, "unreadable": list(content["unreadable"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{file} can't be read ({error}): it says which photographs the mosaics of this run are made of. "
            f"Put it back, "
            "or give another output folder for a new run"
        ) from error

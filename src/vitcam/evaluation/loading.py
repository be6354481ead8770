"""Photographs, or what else the model takes, decoded and prepared beside it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import DatasetError, ImageError, is_out_of_memory
from vitcam.evaluation.datasets import Dataset, Sample
from vitcam.evaluation.datasets.digests import annotation_digest, photograph_digest
from vitcam.evaluation.ground_truth import NoTruthError, Truth, find_truth
from vitcam.evaluation.times import READING, Times
from vitcam.models import Preprocessing
from vitcam.models.adopted import Adopted
from vitcam.threads import map_ahead

_AHEAD = 2
"""Batches."""


class MadeFrom(NamedTuple):
    """Digests of a photograph's annotation (with its file's size) and of the photograph itself, where known."""

    annotation: str | None
    photograph: str | None


UNKNOWN = MadeFrom(None, None)


@dataclass(frozen=True)
class Item:
    """A photograph that is ready for the model.

    Attributes:
        id: the sample's.
        pixels: the model's input.
        labels: from each of the model's classes in it to the dataset's.
        truths: where those classes are; empty if that wasn't asked for.
        made_from: digests of what it was made from.
        whole: where all of its classes are together, of datasets whose predicted class is explained in any case.
    """

    id: str
    pixels: Float[Tensor, ...] = field(repr=False)
    labels: Mapping[int, int]
    truths: Mapping[int, Truth] = field(repr=False)
    made_from: MadeFrom = UNKNOWN
    whole: Truth | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Unreadable:
    """A photograph that couldn't be read, and why."""

    id: str
    error: str


class Photographs:
    """A dataset's photographs as items; those that can't be read are no exception.

    Args:
        dataset: what is read.
        model_indices: for each of its classes, the model's or None.
        preprocessing: from a photograph, or another input's file, to the model's input.
        with_truth: whether to find out where the classes are.
        where_known: whether photographs of which that isn't known are items too.
    """

    def __init__(
        self,
        dataset: Dataset,
        model_indices: Sequence[int | None],
        preprocessing: Adopted,
        with_truth: bool,
        where_known: bool = False,
    ) -> None:
        self._dataset = dataset
        self._ids = dataset.ids
        self._model_indices = model_indices
        self._preprocessing: Any = preprocessing  # of another kind, too
        self._with_truth = with_truth
        self._where_known = where_known

    def __getitem__(self, index: int) -> Item | Unreadable:
        try:
            return self._item(index)
        except (ImageError, DatasetError) as error:
            return Unreadable(self._ids[index], str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            name = self._ids[index]
            return Unreadable(
                name,
                f"{name}: there wasn't enough memory to prepare it. The same command tries it again; fewer --workers "
                "prepare fewer photographs at a time",
            )

    def _item(self, index: int) -> Item:
        sample = self._dataset[index]
        given: Any = self._read(sample)
        known: dict[int, list[int]] = {}
        for label in sample.labels:
            model_class = self._model_indices[label]
            if model_class is not None:
                known.setdefault(model_class, []).append(label)
        found = {
            model_class: self._truth(sample, labels, given.size)
            for model_class, labels in known.items()
            if self._with_truth
        }
        truths = {model_class: truth for model_class, truth in found.items() if truth is not None}
        whole = self._with_truth and self._dataset.explained == "any"
        first = {model_class: labels[0] for model_class, labels in known.items()}
        made_from = MadeFrom(
            annotation_digest(sample), photograph_digest(sample, given if sample.path is None else None)
        )
        return Item(
            sample.id,
            self._preprocessing(given),
            first,
            truths,
            made_from,
            self._truth(sample, sample.labels, given.size) if whole else None,
        )

    def _read(self, sample: Sample) -> Any:
        """What the preprocessing takes: a photograph as the dataset reads it, or a file as the preprocessing does."""
        if isinstance(self._preprocessing, Preprocessing):
            return sample.image()
        if sample.path is None:
            raise DatasetError(
                f"sample {sample.id!r} has no path, and what else than photographs a model takes is read from files"
            )
        return self._preprocessing.read(sample.path)

    def _truth(self, sample: Sample, labels: Sequence[int], size: tuple[int, int]) -> Truth | None:
        try:
            return find_truth(sample, labels, self._preprocessing, size)
        except NoTruthError:
            if self._where_known:
                return None
            raise

    def made_from(self, index: int) -> MadeFrom:
        """What an item would be made from now; nothing of what can't be read."""
        try:
            sample = self._dataset[index]
            return MadeFrom(annotation_digest(sample), photograph_digest(sample))
        except (ImageError, DatasetError):
            return UNKNOWN


def load_batches(
    photographs: Photographs, batches: Sequence[Sequence[int]], workers: int, times: Times | None = None
) -> Generator[list[Item | Unreadable], None, None]:
    """Reads batches in order, a few ahead of the one that is worked on.

    In threads, since decoding and resizing run without Python's lock: a DataLoader's processes would outlive
    a killed run, each waiting forever for somebody to take its batch.

    Args:
        photographs: what to read from.
        batches: indices.
        workers: threads that read ahead; 0 reads here, when it is asked for.
        times: gets the seconds that it takes, of all threads together.
    """
    times = times or Times()

    def read(index: int) -> Item | Unreadable:
        with times.of(READING):
            return photographs[index]

    every = chain.from_iterable(batches)
    if not workers:
        items = (read(index) for index in every)
    else:
        ahead = _AHEAD * max(map(len, batches), default=0)
        items = map_ahead(read, every, ahead=ahead, threads=workers)
    with closing(items):
        for batch in batches:
            yield list(islice(items, len(batch)))

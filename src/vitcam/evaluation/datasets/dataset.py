"""A dataset: classes, and photographs, or other inputs, that are read one at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.sample import Sample

Explained = Literal["predicted", "labelled", "any"]
"""Which class of a photograph localization explains: that which is predicted, where it is in the photograph; each of
those that are in it, whatever is predicted; or that which is predicted, whether it is in it or not."""

EXPLAINS: dict[Explained, tuple[str, ...]] = {
    "predicted": (),
    "labelled": ("localization explains every class that is in an image, whatever is predicted",),
    "any": ("localization explains the predicted class of all photographs, right or wrong",),
}
"""The notes that say so."""


@dataclass(frozen=True)
class DatasetClass:
    """A class of a dataset: its name (synonyms after commas) and its WordNet id, if it has one."""

    name: str
    wordnet_id: str | None = None


@runtime_checkable
class Record(Protocol):
    """What a reader keeps of a photograph: plain values, with paths relative to the dataset's root."""

    @property
    def id(self) -> str: ...


@runtime_checkable
class LabelledRecord(Record, Protocol):
    """A record of a dataset whose photographs may show several classes."""

    @property
    def labels(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Dataset:
    """Photographs with classes, and boxes or masks where the dataset has them. Made by ``open_dataset``.

    A sequence of ``Sample``, picklable, so that it can be handed to a ``torch.utils.data.DataLoader``.

    Attributes:
        kind: the layout it was read from, such as ``"voc"``.
        root: the folder (or file) that was opened.
        classes: the classes, in the order that labels count in.
        records: what is kept of each photograph; ``read`` makes a sample of it.
        read: from a record to a sample.
        notes: sentences on what was left out, for people.
        explained: which class of a photograph localization explains.
        mosaics: what it was composed by, where its images are mosaics: a run composes them anew of photographs that
            its model is sure of.
        holds: what its samples are, in the plural: photographs, or what else a model takes, as its preprocessing
            says (``vitcam.ClipPreprocessing.files.what``, "videos"), which reads it from the samples' ``path``.

    Raises:
        DatasetError: there is no photograph, or two have the same id.

    Example:
        >>> from vitcam.evaluation import open_dataset
        >>> dataset = open_dataset("folder:things")
        >>> len(dataset), [each.name for each in dataset.classes], dataset.ids[0]
        (12, ['cat', 'cup', 'face'], 'cat/0.jpg')
    """

    kind: str
    root: Path
    classes: tuple[DatasetClass, ...]
    records: tuple[Record, ...] = field(repr=False)
    read: Callable[[Any], Sample] = field(repr=False)  # Any: each kind has a record type of its own
    notes: tuple[str, ...] = ()
    explained: Explained = "predicted"
    mosaics: Any = field(default=None, repr=False)  # a Mosaics, which is made of a Dataset itself
    holds: str = "photographs"

    def __post_init__(self) -> None:
        if not self.records:
            raise DatasetError(
                f"the {self.kind} dataset at {self.root} has no {self.holds.removesuffix('s')} to evaluate: "
                f"{self._why()}"
            )
        repeated = [id for id, count in Counter(self.ids).items() if count > 1]
        if repeated:
            raise DatasetError(
                f"the {self.kind} dataset at {self.root} has {len(repeated)} {self.holds} more than once, "
                f"the first {repeated[0]!r}: keep one copy of each"
            )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self.read(self.records[index])

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all samples, in order, without reading any of them."""
        return tuple(record.id for record in self.records)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that stay the same as long as the classes and the records do.

        It doesn't depend on where the dataset lies, so that a run can go on elsewhere; pixels, and
        annotations that are read only on access, don't count.
        """
        explained = () if self.explained == "predicted" else (self.explained,)
        digest = hashlib.sha256(repr((self.kind, self.classes, *explained)).encode())
        for record in self.records:
            digest.update(repr(record).encode())
        return digest.hexdigest()[:16]

    def _why(self) -> str:
        return "; ".join(self.notes) or "its folders or lists are empty"


Labelled = TypeVar("Labelled", bound=LabelledRecord)


def keep_labelled(
    records: Sequence[Labelled], multi_label: bool
) -> tuple[tuple[Labelled, ...], tuple[str, ...]]:
    """Leaves out the photographs without an object and, unless ``multi_label``, those of several classes.

    Returns:
        The records kept, and a note that says how many weren't and why, if any.
    """
    kept = tuple(record for record in records if len(record.labels) == 1 or (multi_label and record.labels))
    why = (
        "no object"
        if multi_label
        else "no object, or objects of several classes (--multi-label or multi_label=True keeps those)"
    )
    left_out = len(records) - len(kept)
    return kept, (f"{left_out} of {len(records)} photographs are left out: {why}",) if left_out else ()

"""Which of a model's classes is which of a dataset's."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.dataset import DatasetClass

# VOC and COCO have these four classes in common, under different names.
_SAME = {"aeroplane": "airplane", "motorbike": "motorcycle", "tvmonitor": "tv", "sofa": "couch"}
_PLACEHOLDER = re.compile(r"(?:label|class)?[ _]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ClassMatch:
    """Which model class a dataset's class is.

    Attributes:
        model_indices: for each class of the dataset, the model's index or None.
        sentence: how they were matched and how many, for people.
    """

    model_indices: tuple[int | None, ...]
    sentence: str

    @property
    def matched(self) -> int:
        """How many of the dataset's classes the model knows."""
        return sum(index is not None for index in self.model_indices)


def match_classes(
    dataset_classes: Sequence[DatasetClass],
    model_class_names: Sequence[str] | None,
    model_wordnet_ids: Sequence[str | Collection[str] | None] | None,
    model_classes: int | None = None,
) -> ClassMatch:
    """Finds the model's class for each of a dataset's.

    By WordNet id where both sides have one; by name where one of them hasn't (case, spaces and punctuation
    don't matter, and any of the synonyms between commas will do). What fits two classes of the model fits
    none. Several classes of the dataset may be one class of the model. If there is nothing to compare, but as
    many classes here as there, they are taken as the same in the same order; and so they are if the ids are
    unknown, at least half of the names agree, and all that do stand in the same place.

    Args:
        dataset_classes: the dataset's classes.
        model_class_names: the model's, in the order of its logits, if it has names.
        model_wordnet_ids: the WordNet ids that each of the model's classes stands for, one or several or
            none.
        model_classes: how many logits the model has, where it has neither names nor ids.

    Returns:
        The match; it may be empty, which ``matched`` and ``sentence`` tell.

    Raises:
        DatasetError: names, ids and number contradict each other.

    Example:
        >>> tench = DatasetClass("tench", "n01440764")
        >>> match_classes([tench], ["cat", "fish"], [None, {"n01440764"}]).model_indices
        (1,)
    """
    names = _real_names(model_class_names)
    ids = [_as_set(entry) for entry in model_wordnet_ids or ()]
    size = _size(model_class_names, model_wordnet_ids, model_classes)
    ids = ids or [frozenset()] * size
    names = names or [""] * size
    total = len(dataset_classes)
    by_id = _match_ids(dataset_classes, ids)
    by_name = _match_names(dataset_classes, names, ids)
    indices = tuple(i if i is not None else n for i, n in zip(by_id, by_name, strict=True))
    matched = sum(index is not None for index in indices)
    identity = tuple(range(total))
    if indices == identity and size == total:
        return ClassMatch(identity, f"the model's {total} classes are the dataset's, in the same order")
    ids_tell = any(ids) and any(item.wordnet_id for item in dataset_classes)
    names_tell = any(names) and any(item.name != item.wordnet_id for item in dataset_classes)
    in_place = all(index in (None, place) for place, index in enumerate(indices))
    if size == total and not ids_tell and not names_tell:
        return ClassMatch(
            identity,
            f"there are no names or ids to match by: the model's {total} outputs are taken as the dataset's "
            f"{total} classes, in the same order",
        )
    if size == total and not ids_tell and in_place and 2 * matched >= total:
        return ClassMatch(
            identity,
            f"{matched} of {total} names agree, each in the same place: the model's {total} classes are "
            "taken as the dataset's, in the same order",
        )
    return ClassMatch(indices, _sentence(dataset_classes, names, by_id, by_name))


def _sentence(
    dataset_classes: Sequence[DatasetClass],
    names: Sequence[str],
    by_id: Sequence[int | None],
    by_name: Sequence[int | None],
) -> str:
    total = len(dataset_classes)
    with_id = sum(index is not None for index in by_id)
    with_name = sum(i is None and n is not None for i, n in zip(by_id, by_name, strict=True))
    if with_id and with_name:
        both = with_id + with_name
        return f"{both} of {total} classes matched, {with_id} by WordNet id and {with_name} by name"
    if with_id or with_name:
        return f"{with_id or with_name} of {total} classes matched by {'WordNet id' if with_id else 'name'}"
    ours = dataset_classes[0].name if dataset_classes else "nothing"
    theirs = next((name for name in names if name), "no names")
    return f"0 of {total} classes matched: the dataset has, for example, {ours!r}, the model {theirs!r}"


def _match_ids(dataset_classes: Sequence[DatasetClass], ids: Sequence[frozenset[str]]) -> list[int | None]:
    owners = _only_owners(ids)
    return [owners.get(item.wordnet_id or "") for item in dataset_classes]


def _match_names(
    dataset_classes: Sequence[DatasetClass], names: Sequence[str], ids: Sequence[frozenset[str]]
) -> list[int | None]:
    # Where both sides have ids, the ids have the say: a crane (bird) is no crane (machine).
    every = _Names(names)
    without_ids = _Names(["" if wordnet_ids else name for name, wordnet_ids in zip(names, ids, strict=True)])
    return [(without_ids if item.wordnet_id else every).find(item.name) for item in dataset_classes]


class _Names:
    def __init__(self, names: Sequence[str]) -> None:
        self._whole = _only_owners([_keys([name]) for name in names])
        self._synonyms = _only_owners([_keys(name.split(",")) for name in names])

    def find(self, name: str) -> int | None:
        whole = (self._whole[key] for key in _keys([name]) if key in self._whole)
        synonyms = (self._synonyms[key] for key in _keys(name.split(",")) if key in self._synonyms)
        return next(chain(whole, synonyms), None)


def _keys(names: Iterable[str]) -> list[str]:
    """The names as they are compared: letters and digits only."""
    bare = ("".join(filter(str.isalnum, name.casefold())) for name in names)
    return [_SAME.get(key, key) for key in bare if key]


def _only_owners(keys: Sequence[Iterable[str]]) -> dict[str, int]:
    """From each key to the one index that has it; keys that several have are left out."""
    owners = defaultdict(set)
    for index, keys_of_one in enumerate(keys):
        for key in keys_of_one:
            owners[key].add(index)
    return {key: next(iter(indices)) for key, indices in owners.items() if len(indices) == 1}


def _real_names(names: Sequence[str] | None) -> list[str]:
    """The names, unless they are nothing but numbers, as in LABEL_0, LABEL_1, …"""
    real = list(names or ())
    return [] if all(_PLACEHOLDER.fullmatch(name) for name in real) else real


def _as_set(entry: str | Collection[str] | None) -> frozenset[str]:
    return frozenset((entry,) if isinstance(entry, str) else entry or ())


def _size(names: Sequence[str] | None, ids: Sequence[object] | None, classes: int | None) -> int:
    counts = {
        what: count
        for what, count in (
            ("names", len(names or ())),
            ("WordNet ids", len(ids or ())),
            ("logits", classes or 0),
        )
        if count
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise DatasetError(f"a model must have as many class names and WordNet ids as logits, got {listed}")
    return next(iter(counts.values()), 0)

"""The class names and WordNet ids of classifiers trained on ImageNet and its larger siblings."""

from __future__ import annotations

from collections.abc import Sequence

from timm.data import ImageNetInfo, infer_imagenet_subset


def imagenet_classes(count: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None:
    """(class names, WordNet ids) of the ImageNet variant with ``count`` classes; None if there is none.

    The order is that of timm's heads: ImageNet-1k (1000), 12k (11821), 21k (21843, or 21841, or 11221
    for the cleaned one).

    Example:
        >>> imagenet_classes(1000)[0][0]
        'tench, Tinca tinca'
    """
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return tuple(info.label_descriptions()), tuple((synset,) for synset in info.label_names())


def imagenet_wordnet_ids(class_names: Sequence[str]) -> tuple[tuple[str, ...], ...] | None:
    """The WordNet ids of ImageNet-1k's classes if these names are its names, in its order; else None.

    Vendors spell a few of the thousand differently ("crane bird"), so nine in ten first synonyms decide.
    """
    imagenet = imagenet_classes(len(class_names)) if len(class_names) == 1000 else None
    if imagenet is None:
        return None
    names, ids = imagenet
    same = sum(
        _first_synonym(ours) == _first_synonym(theirs)
        for ours, theirs in zip(names, class_names, strict=True)
    )
    return ids if same >= 900 else None


def _first_synonym(name: str) -> str:
    return name.split(",")[0].strip().casefold()

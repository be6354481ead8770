"""From a class's name to its index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from vitcam.errors import TargetError

DIGITS = 18
"""Of an index; with more of them it is no class of any model, as it is none with as many."""


def find_class(
    name: str, class_names: Sequence[str], wordnet_ids: Sequence[Sequence[str]] = (), model: str = "the model"
) -> int:
    """The index of the class of this name.

    Args:
        name: a class's whole name, one of its synonyms, its WordNet id, or its index written as digits;
            upper or lower case.
        class_names: one per class; a name may be several synonyms with commas between them. Empty if
            nothing is known about the classes.
        wordnet_ids: the ids that each class stands for.
        model: what has these classes, for the message.

    Raises:
        TargetError: there is no such class (the message names the nearest), or several.

    Example:
        >>> find_class("Tabby", ["dog", "cat, tabby"])
        1
    """
    wanted = name.strip().casefold()
    names = [class_name.casefold() for class_name in class_names]
    synonyms = [{synonym.strip() for synonym in class_name.split(",")} for class_name in names]
    # a whole name goes before a synonym: ImageNet has "maillot" and "maillot, tank suit"
    for matches in (
        [index for index, class_name in enumerate(names) if class_name == wanted],
        [index for index, several in enumerate(synonyms) if wanted in several],
        [index for index, ids in enumerate(wordnet_ids) if wanted in ids],
    ):
        if len(matches) > 1:
            indices = " or ".join(map(str, matches))
            raise TargetError(f"{model} has several classes called {name!r}; give the index: {indices}.")
        if matches:
            return matches[0]
    if wanted.isdecimal():
        # Python itself reads no more than 4300 digits; no model has that many classes
        return _checked(int(wanted[:DIGITS]), len(names), model)
    if not names:
        raise TargetError(f"{model} has no class names, so {name!r} can't be looked up; give the index.")
    nearest = get_close_matches(wanted, sorted(set().union(*synonyms)), n=3, cutoff=0.5)
    hint = f"Nearest: {', '.join(map(repr, nearest))}." if nearest else f"It has {len(names)} others."
    all_of_them = f" All of them: vitcam classes --model {model}" if ":" in model else ""
    raise TargetError(f"{model} has no class called {name!r}. {hint}{all_of_them}")


def search_classes(text: str, class_names: Sequence[str]) -> list[int]:
    """The indices of the classes that have a text in their names, those first of which it is a whole word.

    Example:
        >>> search_classes("cat", ["cattle", "dog", "big cat"])
        [2, 0]
    """
    wanted = text.strip().casefold()
    found = [index for index, name in enumerate(class_names) if wanted in name.casefold()]
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    return sorted(found, key=lambda index: whole.search(class_names[index].casefold()) is None)


def _checked(index: int, classes: int, model: str) -> int:
    if classes and index >= classes:
        raise TargetError(f"{model} has {classes} classes, 0 to {classes - 1}; there is no class {index}.")
    return index

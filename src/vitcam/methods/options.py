"""Checks of option values that several methods share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vitcam.errors import MethodError

_TYPES: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str, list, tuple), "a string or a list"),
}


def of_type(method: str, option: str, value: object, default: object, also: type | None = None) -> None:
    """Checks that an option's value is of the type of its default, or ``also``; a list may stand for a string.

    Raises:
        MethodError: it isn't.

    Example:
        >>> of_type("gae", "start_layer", 2, 0)
    """
    if type(default) not in _TYPES:  # of a method from elsewhere, which knows what it takes
        return
    allowed, description = _TYPES[type(default)]
    if also is not None:
        allowed, description = (*allowed, also), f"{description} or {_TYPES[also][1]}"
    if type(value) not in allowed:
        raise MethodError(f"{method} takes {description} as {option}, such as {default!r}; not {value!r}")


def one_of(method: str, option: str, value: object, allowed: Iterable[str]) -> None:
    """Checks that an option has one of the allowed values.

    Raises:
        MethodError: it hasn't; the message lists the allowed.

    Example:
        >>> one_of("rollout", "head_fusion", "mean", ("mean", "max", "min"))
    """
    names = list(allowed)
    if value not in names:
        known = ", ".join(map(repr, names))
        raise MethodError(f"{method} has no {option}={value!r}; choose one of {known}")


def at_least(method: str, option: str, value: int, least: int, why: str = "") -> None:
    """Checks that a whole number isn't too small.

    Raises:
        MethodError: it is.

    Example:
        >>> at_least("rise", "budget", 1000, 2)
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise MethodError(
            f"{method} takes a whole number of at least {least} as {option}{why}, not {value!r}"
        )


def first_layer(method: str, start_layer: int, count: int) -> int:
    """The lowest layer that takes part, of which a negative one counts from the last.

    Args:
        method: its name, for the message.
        start_layer: as given.
        count: how many layers there are.

    Raises:
        MethodError: there is no such layer.

    Example:
        >>> first_layer("gae", -1, 12)
        11
    """
    if not -count <= start_layer < count:
        raise MethodError(
            f"{method} has no start_layer={start_layer}; this model's layers are 0 to {count - 1} "
            "(negative: from the last)"
        )
    return start_layer % count


def chosen_layers(method: str, layers: str | Sequence[int], count: int) -> list[int]:
    """The layers that an option ``layers`` stands for, in ascending order.

    Args:
        method: its name, for the message.
        layers: "all", "last:K", "first:K", "last:half" (rounded up), or indices, of which negative ones count
            from the last.
        count: how many layers there are.

    Raises:
        MethodError: it can't be read, or a layer doesn't exist; the message says which layers there are.

    Example:
        >>> chosen_layers("agcam", "last:3", 12)
        [9, 10, 11]
    """
    if layers == "all":
        return list(range(count))
    if layers == "last:half":
        return list(range(count // 2, count))
    if isinstance(layers, str):
        match = re.fullmatch(r"(first|last):([1-9]\d*)", layers)
        if match and int(match[2]) <= count:
            number = int(match[2])
            return list(range(number)) if match[1] == "first" else list(range(count - number, count))
    elif layers and all(type(index) is int and -count <= index < count for index in layers):
        return sorted({index % count for index in layers})
    raise MethodError(
        f"{method} can't use layers={layers!r}; give 'all', 'last:K' or 'first:K' with K from 1 to {count}, "
        f"'last:half', or a list of layers from 0 to {count - 1} (negative: from the last)"
    )

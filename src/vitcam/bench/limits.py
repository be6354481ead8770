"""What an entry must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vitcam.bench.statistics import ratios, spread

Quantity = Literal["time", "speed", "memory", "seconds"]
"""Time per image ÷ that of others; images/s ÷ those of others; MiB per image above the forward; seconds."""


@dataclass(frozen=True)
class Limit:
    """A bound on something that is measured.

    Attributes:
        what: a ``Quantity``, or the name of one of the entry's own values.
        bound: the number that must be reached.
        at_least: whether it must be reached from above; otherwise it must not be exceeded.
        of: for "time" and "speed", the entries whose times are added up and compared with; none means the
            entry's own reference.
        goal: a better number that is aimed at.
    """

    what: str
    bound: float
    at_least: bool = False
    of: tuple[str, ...] = ()
    goal: float | None = None


@dataclass(frozen=True)
class Check:
    """A limit with what was measured.

    Attributes:
        limit: what must be reached.
        value: what was.
    """

    limit: Limit
    value: float

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.value >= self.limit.bound if self.limit.at_least else self.value <= self.limit.bound


def check(
    limit: Limit,
    name: str,
    reference: str | None,
    seconds: Mapping[str, Sequence[float]],
    values: Mapping[str, float],
) -> Check | None:
    """Compares a limit with what was measured; None where something that it needs wasn't.

    Args:
        limit: what must be reached.
        name: of the entry.
        reference: of the entry, if it has one.
        seconds: per image, of all entries that ran.
        values: what else was measured of the entry, by name.

    Example:
        >>> limit = Limit("speed", 2.5, at_least=True, of=("fp32",))
        >>> check(limit, "bf16", None, {"bf16": [1.0], "fp32": [3.0]}, {}).value
        3.0
    """
    if limit.what == "seconds":
        return Check(limit, spread(seconds[name]).median)
    if limit.what not in ("time", "speed"):
        return Check(limit, values[limit.what]) if limit.what in values else None
    of = limit.of or ((reference,) if reference else ())
    if not of or any(other not in seconds for other in of):
        return None
    ratio = spread(ratios(seconds[name], [seconds[other] for other in of])).median
    return Check(limit, 1 / ratio if limit.what == "speed" else ratio)

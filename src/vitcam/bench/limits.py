"""What an entry must reach, whether it does, and what vitcam must."""

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
            fastest way to the result of the entry's own reference.
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
    compared = limit.of or ((reference,) if reference else ())
    if not compared or any(other not in seconds for other in compared):
        return None
    ratio = spread(ratios(seconds[name], [seconds[other] for other in compared])).median
    return Check(limit, 1 / ratio if limit.what == "speed" else ratio)


COSTS = {
    "rollout": 1.05,
    "gradcam": 1.05,
    "gae": 1.9,
    "gradsam": 1.9,
    "legrad": 1.8,
    "attnlrp": 3.0,
    "lrp": 6.0,
}
"""From a method to how many times the time of the fastest way to the same prediction it may take."""

IN_BF16 = "forward, bf16"
"""What AGCAM in bfloat16 is compared with: the model's own pass in it."""

COMPARED = ("agcam", "rollout", "gae", "gradsam", "gradcam")
SHARED = 0.6
"""The share of the time of the five methods one by one that comparing them may take."""


def agcam_limits(batch: int, pixels: int) -> tuple[Limit, ...]:
    """Of AGCAM in the forward pass's own precision.

    Args:
        batch: images at a time.
        pixels: of an image.
    """
    time = Limit("time", 1.04 if batch >= 8 else 1.12)
    return time, Limit("memory", 15 * pixels / 224**2)


def top5_limits(batch: int) -> tuple[Limit, ...]:
    """Of AGCAM for five classes per image."""
    return (Limit("time", 1.06),) if batch >= 8 else ()


def bf16_limits(batch: int, amx: bool) -> tuple[Limit, ...]:
    """Of AGCAM in bfloat16 against the model's own pass in it, and against AGCAM in fp32.

    Args:
        batch: images at a time.
        amx: whether the CPU has matrix units for bfloat16.
    """
    time = Limit("time", 1.0 if batch >= 8 else 1.1, of=(IN_BF16,))
    alike = Limit("rank correlation", 0.99, at_least=True)
    return (time, Limit("speed", 3.5, at_least=True, of=("agcam",)), alike) if amx else (time, alike)


def method_limits(method: str) -> tuple[Limit, ...]:
    """Of any other method."""
    return (Limit("time", COSTS[method]),) if method in COSTS else ()

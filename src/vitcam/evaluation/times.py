"""Where a run's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch

READING = "reading"
"""Decoding and preparing photographs, in threads beside the model: it isn't a part of the whole."""

WAITING = "waiting"
EXPLAINING = "explaining"
PICTURES = "pictures"
STORING = "storing"
CHECKING = "checking widths"
MEASURE = "measure "
"""Before the name of a measure."""

TOTAL = "total"

_TITLES = {
    EXPLAINING: "explaining",
    MEASURE: "measures",
    WAITING: "waiting for photographs",
    PICTURES: "pictures",
    STORING: "writing",
    CHECKING: "looking how wide intervals are",
}


@dataclass
class Times:
    """Seconds by phase, of this process's clock; of workers of a cluster, of all together.

    Attributes:
        seconds: by phase.
        images: that were measured in them.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what was measured elsewhere."""
        with self._lock:
            for phase, each in seconds.items():
                self.seconds[phase] = self.seconds.get(phase, 0.0) + each

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Counts what is done inside the ``with`` as a phase, also in other threads."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({phase: time.perf_counter() - started})

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Inside the ``with``, what this thread does in ``timed`` is counted here."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @property
    def sentence(self) -> str:
        """For people: how long it took, and which part of it each phase.

        Example:
            >>> seconds = {"total": 150.0, "measure abpc": 90.0, "explaining": 60.0, "reading": 2.0}
            >>> Times(seconds, images=40).sentence
            '40 images in 2m30s: explaining 40%, measures 60% (abpc 60%); photographs were read in 2s beside that'
        """
        whole = self.seconds.get(TOTAL) or sum(self.seconds.values()) or 1.0
        measures = {
            name.removeprefix(MEASURE): each
            for name, each in self.seconds.items()
            if name.startswith(MEASURE)
        }
        together = {**self.seconds, MEASURE: sum(measures.values())}
        shown = []
        for phase, title in _TITLES.items():
            if together.get(phase):
                inside = ", ".join(f"{name} {each / whole:.0%}" for name, each in measures.items())
                shown.append(
                    f"{title} {together[phase] / whole:.0%}" + (f" ({inside})" if phase == MEASURE else "")
                )
        beside = self.seconds.get(READING)
        read = f"; photographs were read in {duration(beside)} beside that" if beside else ""
        return f"{self.images} images in {duration(whole)}: {', '.join(shown)}{read}"


_CURRENT: ContextVar[Times | None] = ContextVar("times", default=None)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Counts what is done inside the ``with`` as a phase, where somebody is ``counting``; phases don't overlap."""
    times = _CURRENT.get()
    if times is None:
        yield
        return
    with times.of(phase):
        yield
        if torch.cuda.is_initialized():  # a GPU works on while Python is in the next phase already
            torch.cuda.synchronize()


def together(before: Mapping[str, Any], times: Times) -> dict[str, Any]:
    """What ``times.json`` holds of a task, with a command's times added to those of the commands before it."""
    both = Times(dict(before.get("seconds", {})))
    both.add(times.seconds)
    seconds = {phase: round(each, 3) for phase, each in both.seconds.items()}
    return {"images": before.get("images", 0) + times.images, "seconds": seconds}


def duration(seconds: float) -> str:
    """For people, such as ``--budget`` takes.

    Example:
        >>> duration(5400), duration(12.34)
        ('1h30m', '12s')
    """
    whole = round(seconds)
    if not whole:
        return f"{seconds:.1f}s"
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)

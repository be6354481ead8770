"""When a run stops before it has measured all images: time is up, or its means are known well enough."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from vitcam.errors import RunError
from vitcam.evaluation.times import CHECKING, timed
from vitcam.evaluation.widths import Width, widest_interval
from vitcam.evaluation.work import Storing

Reason = Literal["budget", "target width"]

LEAST = 100
"""Scored images below which no interval is trusted: a bootstrap of few images is too narrow."""

GROWTH = 1.05
"""By how much images must have become more until widths are looked at again, so that looking costs little."""

_BUDGET = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True)
class Limits:
    """What ends a run early.

    Attributes:
        budget: seconds; None for as long as it takes.
        width: of the widest bootstrap 95 % interval of a mean, from end to end; None for whatever it is.
    """

    budget: float | None = None
    width: float | None = None

    @staticmethod
    def of(budget: str | float | None, width: float | None) -> Limits:
        """From what a caller gives.

        Raises:
            RunError: a budget isn't a duration, or a width isn't above 0.

        Example:
            >>> Limits.of("1h30m", 0.01)
            Limits(budget=5400.0, width=0.01)
        """
        if width is not None and not 0 < width < float("inf"):
            raise RunError(f"target_width must be a number above 0, such as 0.01; got {width}")
        return Limits(None if budget is None else _seconds(budget), width)

    def __bool__(self) -> bool:
        return self.budget is not None or self.width is not None


def _seconds(budget: str | float) -> float:
    if isinstance(budget, str):
        found = _BUDGET.fullmatch(budget.replace(" ", ""))
        parts = found.groups(default="0") if found else ("0", "0", "0")
        seconds = float(sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True)))
    else:
        seconds = float(budget)
    if not 0 < seconds < float("inf"):
        raise RunError(
            f"budget must be a duration above 0, such as 2h, 90m, 45s or 1h30m (or seconds, as a number); got "
            f"{budget!r}"
        )
    return seconds


class Shares:
    """A budget, which begins now, shared among tasks that are done one after the other."""

    def __init__(self, limits: Limits, tasks: int) -> None:
        self._end = None if limits.budget is None else time.monotonic() + limits.budget
        self._left = tasks

    def next(self) -> float | None:
        """When the next task's time is up, on ``time.monotonic``'s clock: after its equal share of what is left."""
        if self._end is None:
            return None
        now = time.monotonic()
        share = (self._end - now) / self._left
        self._left -= 1
        return now + share


@dataclass
class Stopping:
    """Says of one task whether to stop.

    Attributes:
        limits: of the run.
        store: where the task's rows go.
        done, planned: images.
        until: when the task's time is up; None for never.
        reason: why it was stopped; None as long as it wasn't, or if that came too late.
        widest: the widest interval when they were looked at last.
    """

    limits: Limits
    store: Storing
    done: int
    planned: int
    until: float | None
    reason: Reason | None = field(default=None, init=False)
    widest: Width | None = field(default=None, init=False)
    _next_look: float = field(default=0.0, init=False)

    def is_narrow(self) -> bool:
        """Whether all intervals are narrow enough; looks at them only when there are enough new images."""
        if self.limits.width is None or self.done < max(LEAST, self._next_look):
            return False
        self._next_look = self.done * GROWTH
        store = self.store
        store.flush()
        with timed(CHECKING):
            self.widest = widest_interval(store.folder.stored_rows, store.task, store.job.settings, LEAST)
        if self.widest is None or self.widest.width > self.limits.width:
            return False
        self.reason = "target width"
        return True

    def after(self, images: int) -> bool:
        """Whether to stop, after so many more images."""
        self.done += images
        if self.done >= self.planned:
            self.reason = None
            return False
        is_late = self.until is not None and time.monotonic() >= self.until
        if self.reason is None and not self.is_narrow() and is_late:
            self.reason = "budget"
        return self.reason is not None

    @property
    def facts(self) -> dict[str, Any]:
        """For ``summary.json``: how many images there are, and why it was stopped before all were measured."""
        return {"planned": self.planned, "stopped": self.reason}

    @property
    def sentence(self) -> str:
        """For people."""
        measured = f"{self.done:,} of {self.planned:,} images of the {self.store.task} task are measured"
        if self.reason is None:
            return f"{measured}: all there are"
        widest = f"the widest interval is {self.widest}" if self.widest else ""
        if self.reason == "budget":
            why = ", ".join(filter(None, ("the time given is used up", widest)))
            more = "The same command goes on from there"
        else:
            why = f"no interval is wider than {self.limits.width:g}, {widest}"
            more = "A smaller target width goes on from there"
        return f"{measured}, in random order, so that they are an unbiased sample: {why}. {more}"

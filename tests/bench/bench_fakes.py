"""A clock that goes on only when something is run, and entries that take as long as they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat

from vitcam.bench.timing import Entry

SPEC = "timm:test_vit"


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def entry(self, name: str, *seconds: float, **settings: object) -> Entry:
        """Takes so many seconds, call by call; the last again and again."""
        return Entry(name, self._run(name, seconds), **settings)

    def _run(self, name: str, seconds: Sequence[float]) -> Callable[[], None]:
        left = chain(seconds, repeat(seconds[-1]))

        def run() -> None:
            self.ran.append(name)
            self.now += next(left)

        return run

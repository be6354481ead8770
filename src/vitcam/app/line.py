"""Visitors who wait for their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vitcam.app.work import Work

SECONDS = 0.2
"""How long it may take until one who waits hears that the work is to end."""


class Line:
    """Whoever came first has the first turn; everyone hears how many others are before them.

    Example:
        >>> line = Line()
        >>> with line.turn(Work("a visitor")):
        ...     "nobody else is inside"
        'nobody else is inside'
    """

    def __init__(self) -> None:
        self._waiting: list[Work] = []  # the first one is inside
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, work: Work) -> Iterator[None]:
        """Waits until all who came before are done.

        Raises:
            Stopped: the work was told to end before its turn came.
        """
        with self._moved:
            self._waiting.append(work)
        try:
            self._wait(work)
            yield
        finally:
            with self._moved:
                self._waiting.remove(work)
                self._moved.notify_all()

    def _wait(self, work: Work) -> None:
        said = None
        while True:
            work.stop.check()
            with self._moved:
                place = self._waiting.index(work)
                if place == 0:
                    return
                text = waiting_for({other.owner for other in self._waiting[:place]} - {work.owner})
                if text == said:
                    self._moved.wait(SECONDS)
            if text != said:
                work.tell(text)
            said = text


def waiting_for(others: set[str]) -> str:
    """What one is told who waits for others, or for something else of one's own.

    Example:
        >>> waiting_for({"a", "b"})
        'Waiting for 2 other visitors'
    """
    if not others:
        return "Waiting for what you asked before"
    return f"Waiting for {len(others)} other visitor{'s' if len(others) > 1 else ''}"

"""Tasks that somebody waits for: they wait for their turn, and end when nobody waits any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

T = TypeVar("T")

Tell = Callable[[str], None]
"""Is told what is done next."""


class Stopped(BaseException):
    """Nobody waits for this any more.

    Not an ``Exception``: what tries something out and does without it must not take this for a failure.
    """


class Stop:
    """Tells a task to end. Any thread may tell, the one that works checks."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def tell(self) -> None:
        """The task is to end."""
        self._told.set()

    @property
    def told(self) -> bool:
        """Whether the task is to end."""
        return self._told.is_set()

    def check(self) -> None:
        """Ends the task if it is to end.

        Raises:
            Stopped: it is.
        """
        if self.told:
            raise Stopped


class Stoppable(TorchFunctionMode):
    """Inside, any operation of torch ends the task once it is told to.

    So that it ends in the midst of a method, at the next layer, whatever the method and the model are. Only what
    is written in C++ is out of reach: an ordinary backward pass goes on to its end.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._stop.check()
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Ticket:
    """Who waits for a task, how they are told of it, and what ends it.

    Attributes:
        owner: the visitor.
        tell: is told what is done next.
        stop: tells it to end.
    """

    owner: str = ""
    tell: Tell = print
    stop: Stop = field(default_factory=Stop)


def relayed(steps: Callable[[Tell], Iterator[T]]) -> Generator[str | T, None, None]:
    """Runs steps in a thread of their own, and gives what they give and what they tell as it comes.

    Whoever iterates may be slow or never come back: the steps hold what they hold in their own thread, and let
    go of it when they are done.

    Args:
        steps: gets a function to tell by.

    Raises:
        BaseException: whatever the steps raised.
    """
    found: SimpleQueue[tuple[str | T | None, BaseException | None, bool]] = SimpleQueue()

    def run() -> None:
        try:
            for step in steps(lambda text: found.put((text, None, False))):
                found.put((step, None, False))
        except BaseException as error:  # it is raised where it is waited for
            found.put((None, error, True))
        else:
            found.put((None, None, True))

    threading.Thread(target=run, name="vitcam-task", daemon=True).start()
    while True:
        step, error, ended = found.get()
        if error is not None:
            raise error
        if ended:
            return
        yield step  # type: ignore[misc]  # None only comes with the end


POLL = 0.2
"""Seconds that it may take until one who waits hears that the task is to end."""


class Queue:
    """Whoever came first has the first turn; everyone hears how many others are before them.

    Example:
        >>> queue = Queue()
        >>> with queue.turn(Ticket("a visitor")):
        ...     "nobody else is inside"
        'nobody else is inside'
    """

    def __init__(self) -> None:
        self._waiting: list[Ticket] = []  # the first one is inside
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Waits until all who came before are done.

        Raises:
            Stopped: the task was told to end before its turn came.
        """
        with self._moved:
            self._waiting.append(ticket)
        try:
            self._wait(ticket)
            yield
        finally:
            with self._moved:
                self._waiting.remove(ticket)
                self._moved.notify_all()

    def _wait(self, ticket: Ticket) -> None:
        said = None
        while True:
            ticket.stop.check()
            with self._moved:
                place = self._waiting.index(ticket)
                if place == 0:
                    return
                text = waiting_for({other.owner for other in self._waiting[:place]} - {ticket.owner})
                if text == said:
                    self._moved.wait(POLL)
            if text != said:
                ticket.tell(text)
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

"""Work that somebody waits for, and that ends when nobody does any more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
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
    """Tells work to end. Any thread may tell, the one that works checks."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def tell(self) -> None:
        """The work is to end."""
        self._told.set()

    @property
    def told(self) -> bool:
        """Whether the work is to end."""
        return self._told.is_set()

    def check(self) -> None:
        """Ends the work if it is to end.

        Raises:
            Stopped: it is.
        """
        if self.told:
            raise Stopped


class Stoppable(TorchFunctionMode):
    """Inside, any operation of torch ends the work once it is told to.

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
class Work:
    """What work must know about whoever waits for it.

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
    found: queue.SimpleQueue[tuple[str | T | None, BaseException | None, bool]] = queue.SimpleQueue()

    def run() -> None:
        try:
            for step in steps(lambda text: found.put((text, None, False))):
                found.put((step, None, False))
        except BaseException as error:  # it is raised where it is waited for
            found.put((None, error, True))
        else:
            found.put((None, None, True))

    threading.Thread(target=run, name="vitcam-work", daemon=True).start()
    while True:
        step, error, ended = found.get()
        if error is not None:
            raise error
        if ended:
            return
        yield step  # type: ignore[misc]  # None only comes with the end

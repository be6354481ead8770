"""SIGTERM, by which schedulers and containers end programs, ends a run as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

STATUS = 128 + signal.SIGTERM
"""Of a program that SIGTERM has ended, as shells have it."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside the ``with``, SIGTERM raises ``SystemExit``, so that what is done is stored.

    Nothing is changed in a program that handles SIGTERM itself, nor outside of its main thread.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def same_handler() -> Iterator[None]:
    """Puts back what handles SIGTERM, where a library takes it for itself inside the ``with``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # of a program in C, which Python can't put back
            signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(STATUS)

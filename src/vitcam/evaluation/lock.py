"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vitcam.errors import RunError

BEAT = 5.0
"""Seconds between two signs of life of a holder."""

STALE = 45.0
"""Seconds without a sign of life after which a holder counts as dead, where nothing else tells."""


class Lock:
    """A held lock; ``check`` says whether it still is.

    Args:
        path: its file.
        file: the same, open, with the system's lock on it where there are such locks.
        token: tells this holder from all others.
    """

    def __init__(self, path: Path, file: IO[bytes], token: str) -> None:
        self._path, self._file, self._token = path, file, token
        self._beats = 0
        self._ended = threading.Event()
        self._taken_by: str | None = None
        self._write()
        self._thread = threading.Thread(target=self._beat, name="vitcam lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Whether this process may still write.

        Raises:
            RunError: another process has taken the lock, as it may when this one was suspended for long.
        """
        if self._taken_by is not None:
            raise RunError(
                f"{self._path.parent} has been taken over by {self._taken_by}, since this process gave no sign of "
                f"life for {STALE:g} seconds; what it had stored is whole"
            )

    def give_back(self) -> None:
        """Leaves the file empty, so that nobody waits for this process."""
        self._ended.set()
        self._thread.join()
        # where it can't be (the folder is gone, say), it is that of a process which gives no sign of life
        with contextlib.suppress(OSError):
            if self._taken_by is None:
                _replace(self._file, b"")
        with contextlib.suppress(OSError):
            self._file.close()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):  # a file system that is away for a while: the next one will do
                holder = _read(self._path)
                if holder and holder.get("token") != self._token:
                    self._taken_by = _name(holder)
                    return
                self._write()

    def _write(self) -> None:
        self._beats += 1
        holder = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "machine": _machine(),
            "token": self._token,
            "beat": self._beats,
        }
        _replace(self._file, json.dumps(holder).encode())


@contextlib.contextmanager
def locked(path: Path, tell: Callable[[str], None] = lambda sentence: None) -> Iterator[Lock]:
    """Holds a lock file that names this process; that of a process which has died is taken over.

    Who lives is told by the system's own lock, which ends with its holder, and on machines and file systems that
    it doesn't reach by signs of life: a holder writes one every few seconds, and one that gives none for ``STALE``
    seconds is dead. Host names and process numbers, which containers have in common, tell nothing.

    The file stays, empty, when the lock is given back.

    Args:
        path: the file.
        tell: is called with a sentence before it is waited for signs of life.

    Raises:
        RunError: another process, on this machine or elsewhere, holds it; or it can't be written.
    """
    token = uuid.uuid4().hex
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror or error}") from error
    try:
        _take(path, file, tell)
        lock = Lock(path, file, token)
    except OSError as error:
        file.close()
        raise RunError(f"can't write {path}: {error.strerror or error}") from error
    except BaseException:
        file.close()
        raise
    try:
        yield lock
    finally:
        lock.give_back()


def _take(path: Path, file: IO[bytes], tell: Callable[[str], None]) -> None:
    """Makes sure that nobody else lives who holds it.

    Raises:
        RunError: somebody does.
    """
    alone = _lock(file)
    holder = _read(path)
    if alone is False:
        raise _held(path, holder)
    if not holder:
        return
    if alone and holder.get("machine") == _machine():
        return  # the system's lock reaches all of this machine: its holder has ended
    tell(
        f"{path.parent} was last worked on by {_name(holder)}: waiting up to {STALE:g} seconds for a sign of life "
        "from there"
    )
    end = time.monotonic() + STALE
    while time.monotonic() < end:
        time.sleep(min(1.0, STALE / 10))
        now = _read(path)
        if not now:
            return
        if now != holder:
            raise _held(path, now)


def _held(path: Path, holder: dict[str, Any]) -> RunError:
    return RunError(f"{path.parent} is being worked on by {_name(holder)}: wait for it, or end it")


def _name(holder: dict[str, Any]) -> str:
    if "process" not in holder:
        return "another process"
    return f"process {holder['process']} on {holder.get('host', 'another machine')}"


def _read(path: Path) -> dict[str, Any]:
    """What a holder wrote; {} if nobody holds it. Whatever isn't a holder's text is somebody unknown's."""
    content = path.read_bytes()
    if not content.strip():
        return {}
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        holder = None
    return (
        holder if isinstance(holder, dict) and holder else {"unknown": content[:200].decode(errors="replace")}
    )


def _replace(file: IO[bytes], content: bytes) -> None:
    """Padded and then cut, so that whoever reads meanwhile finds a holder rather than nothing."""
    file.seek(0)
    file.write(content)
    file.truncate(len(content))
    os.fsync(file.fileno())


def _machine() -> str:
    """What all processes under one kernel have in common, and nobody else: the system's locks reach these."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no Linux
        return f"{uuid.getnode():012x}"


def _lock(file: IO[bytes]) -> bool | None:
    """Takes the system's lock: whether it could be had, or None where there are none."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # as on Lustre, unless it is mounted with them
        return None
    return True

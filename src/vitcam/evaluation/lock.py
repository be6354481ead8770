"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vitcam.evaluation.errors import RunError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file that names this process; that of a process which has died is taken over.

    The file stays, empty, when the lock is given back.

    Raises:
        RunError: another process, on this machine or elsewhere, holds it; or it can't be written.
    """
    own = f"{os.getpid()} {_started(os.getpid())} {socket.gethostname()}"
    try:
        _take(path, own)
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        # where it can't be (the folder is gone, say), what it says is that of a process which has ended
        with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
            _replace(file, "")


def _take(path: Path, own: str) -> None:
    with path.open("a+", encoding="utf-8") as file, _alone(file):
        file.seek(0)
        holder = file.read().strip()
        if holder and holder != own and _is_alive(holder):
            pid, _, host = holder.split(maxsplit=2)
            raise RunError(
                f"{path.parent} is being worked on by process {pid} on {host}: wait for it, or end it. If it "
                f"no longer exists, delete {path}"
            )
        _replace(file, own)


def _replace(file: IO[str], content: str) -> None:
    file.truncate(0)
    file.write(content)
    file.flush()


def _is_alive(holder: str) -> bool:
    parts = holder.split(maxsplit=2)
    if len(parts) < 3 or not parts[0].isdecimal():  # torn: its writer was killed while it wrote
        return False
    pid, started, host = parts
    if host != socket.gethostname():
        return True  # can't be known
    return started == _started(int(pid)) if Path("/proc/self/stat").exists() else _exists(int(pid))


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks: a pid alone is given anew after a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return "?"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextlib.contextmanager
def _alone(file: IO[str]) -> Iterator[None]:
    """Keeps two processes from reading, and then both writing, the lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (
        ImportError,
        OSError,
    ):  # Windows, and file systems of clusters without locks: that moment stays open
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)

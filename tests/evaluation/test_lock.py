"""One process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest

from vitcam.evaluation import RunError
from vitcam.evaluation.lock import locked

HOLD = """
import sys
from pathlib import Path
from vitcam.evaluation.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_living_process_keeps_others_out_and_a_dead_one_doesnt(tmp_path):
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"is being worked on by process {holder.pid} on .*: wait for it"):
        locked(lock).__enter__()
    holder.kill()
    holder.communicate()
    with locked(lock):
        assert lock.read_text().startswith(f"{os.getpid()} ")
    assert lock.read_text() == ""


def test_a_pid_that_was_given_anew_is_no_holder(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(f"{os.getppid()} 1 {socket.gethostname()}")  # since the machine was started
    with locked(lock):
        pass


def test_torn_locks_are_taken_and_foreign_ones_arent(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("123")
    with locked(lock):
        pass
    lock.write_text("123 456 another-machine")
    with pytest.raises(RunError, match="by process 123 on another-machine"):
        locked(lock).__enter__()
    assert lock.read_text() == "123 456 another-machine"


def test_a_lock_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    with pytest.raises(RunError, match=rf"can't write {tmp_path}: Is a directory"):
        locked(tmp_path).__enter__()


def test_a_folder_that_is_gone_is_no_error_when_it_is_given_back(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "lock"):
        (tmp_path / "run").rename(tmp_path / "moved")
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    """As Lustre's, unless it is mounted with them."""

    def refuse(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = tmp_path / "lock"
    with locked(lock):
        assert lock.read_text().startswith(f"{os.getpid()} ")
    assert lock.read_text() == ""


def test_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock"):
        pass

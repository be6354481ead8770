"""One process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time

import pytest

from vitcam.evaluation import RunError
from vitcam.evaluation import lock as locks
from vitcam.evaluation.lock import locked

HOLD = """
import sys
from pathlib import Path
from vitcam.evaluation import lock
lock.BEAT = 0.05
if "no-flock" in sys.argv:
    lock._lock = lambda file: None
if "elsewhere" in sys.argv:
    lock._machine = lambda: "another kernel"
with lock.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "STALE", 0.6)


@contextlib.contextmanager
def held(lock, *how):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock), *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def holder_of(lock):
    return json.loads(lock.read_text())


def without_flock(monkeypatch):
    """As on Lustre, unless it is mounted with locks."""

    def refuse(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_living_process_keeps_others_out_and_a_dead_one_doesnt(tmp_path):
    lock, told = tmp_path / "lock", []
    with held(lock) as holder:
        with pytest.raises(RunError, match=f"is being worked on by process {holder.pid} on .*: wait for it"):
            locked(lock).__enter__()
        holder.kill()
        holder.communicate()
        with locked(lock, told.append):
            assert holder_of(lock)["process"] == os.getpid()
    assert lock.read_text() == ""
    assert told == []  # nothing had to be waited for


def test_containers_of_one_host_name_keep_each_other_out(tmp_path):
    """Their process numbers mean nothing to each other; the kernel that they share has the say."""
    lock = tmp_path / "lock"
    with held(lock):
        content = holder_of(lock) | {"process": 1}  # as every container's first process calls itself
        lock.write_text(json.dumps(content))
        with pytest.raises(RunError, match="is being worked on by process"):
            locked(lock).__enter__()


@pytest.mark.parametrize("how", [("no-flock",), ("no-flock", "elsewhere")])
def test_signs_of_life_keep_others_out_where_the_systems_locks_dont_reach(tmp_path, monkeypatch, how):
    lock, told = tmp_path / "lock", []
    if "elsewhere" not in how:
        without_flock(monkeypatch)
    with held(lock, *how) as holder:
        with pytest.raises(RunError, match=f"is being worked on by process {holder.pid}"):
            locked(lock).__enter__()
        holder.kill()  # as a pod is that starts again elsewhere
        holder.communicate()
        started = time.monotonic()
        with locked(lock, told.append):
            assert time.monotonic() - started >= 0.6
            assert holder_of(lock)["process"] == os.getpid()
    assert f"was last worked on by process {holder.pid} on " in told[0]
    assert "waiting up to 0.6 seconds for a sign of life" in told[0]


def test_who_was_taken_for_dead_may_write_no_more(tmp_path):
    lock = tmp_path / "lock"
    with locked(lock) as own:
        own.check()
        lock.write_text(json.dumps({"process": 7, "host": "elsewhere", "token": "other"}))
        deadline = time.monotonic() + 10
        while own._taken_by is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(
            RunError, match="taken over by process 7 on elsewhere, since this process gave no"
        ):
            own.check()
    assert holder_of(lock)["process"] == 7  # and isn't given back either


@pytest.mark.parametrize("content", [b"123 456 old-form", b"\xff\xfe\x00\x01", b"[1]", b"[" * 10**5, b"{}"])
def test_locks_that_hold_no_holder_are_taken_after_a_while(tmp_path, content):
    lock = tmp_path / "lock"
    lock.write_bytes(content)
    with locked(lock):
        assert holder_of(lock)["process"] == os.getpid()


def test_a_lock_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    with pytest.raises(RunError, match=rf"can't write {tmp_path}: Is a directory"):
        locked(tmp_path).__enter__()


def test_a_folder_that_is_gone_is_no_error_when_it_is_given_back(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "lock"):
        (tmp_path / "run").rename(tmp_path / "moved")
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    without_flock(monkeypatch)
    lock = tmp_path / "lock"
    with locked(lock):
        assert holder_of(lock)["process"] == os.getpid()
    assert lock.read_text() == ""


def test_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock"):
        pass

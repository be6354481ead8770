"""A run that is killed with SIGKILL, again and again, ends with the rows of one that wasn't."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import miniature
import pytest
import torch

from vitcam.evaluation import evaluate
from vitcam.evaluation.gallery import read_pictures
from vitcam.evaluation.store import RunFolder


def start(data: Path, output: Path, task: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, miniature.__file__, str(data), str(output), task],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that what it leaves behind can be found
    )


def of_session(leader: int) -> list[int]:
    """The processes of a session, ended ones apart."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_killed_run_leaves_no_process_behind(tmp_path):
    """Whatever reads photographs ahead must die with the run, and not wait forever for it."""
    data = miniature.make_dataset(tmp_path / "data", images=41)
    process = start(data, tmp_path / "run", "localization")
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run" / "rows").glob("part-*")):
            assert time.monotonic() < deadline, "it stores nothing"
            time.sleep(0.01)
        assert process.pid in of_session(process.pid)
        assert int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) > 1
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
    assert of_session(process.pid) == []


def kill_at(process: subprocess.Popen[bytes], rows: Path, parts: int, delay: float) -> bool:
    """Kills it ``delay`` seconds after it has stored so many parts more; whether it was still at work."""
    seen = set(rows.glob("part-*"))  # of which some may be put together meanwhile
    wanted = len(seen) + parts
    deadline = time.monotonic() + 60
    while process.poll() is None and len(seen) < wanted:
        seen |= set(rows.glob("part-*"))
        assert time.monotonic() < deadline, "it stores nothing"
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode == -9


KILLS = int(os.environ.get("VITCAM_KILLS", "3"))


@pytest.mark.slow
def test_rows_are_those_of_an_undisturbed_run(tmp_path):
    data = miniature.make_dataset(tmp_path / "data", images=max(41, 7 * KILLS))
    output = tmp_path / "killed"
    rng = random.Random(7)
    torn = 0
    for _ in range(KILLS):
        wait = rng.choice([1, 2, 3]), rng.uniform(0, 0.15)
        killed = kill_at(start(data, output, "all"), output / "rows", *wait)
        assert killed, "none of the runs may have come to its end before it was killed"
        left = list(output.rglob("*.part"))
        torn += bool(left)
    print(f"{KILLS} kills, {torn} of them while a file was written")
    assert torn or KILLS < 20
    stored = {part: part.read_bytes() for part in (output / "rows").glob("part-*")}
    last = start(data, output, "all")
    _, errors = last.communicate(timeout=120 + 3 * KILLS)
    assert last.returncode == 0, errors.decode()

    torch.set_num_threads(1)
    undisturbed = tmp_path / "undisturbed"
    evaluate(
        "all",
        f"folder:{data}",
        miniature.make_model(),
        miniature.METHODS,
        undisturbed,
        batch_size=3,
        workers=0,
    )
    assert RunFolder(output).read().equals(RunFolder(undisturbed).read())
    for task in ("localization", "perturbation"):
        images = RunFolder(output).stored(task)
        assert read_pictures(output, task, images) == read_pictures(undisturbed, task, images) != {}
    assert (output / "summary.json").read_text() == (undisturbed / "summary.json").read_text()
    kept = {part: content for part, content in stored.items() if part.exists()}  # others were put together
    assert all(part.read_bytes() == content for part, content in kept.items()), "what is stored is touched"
    assert not any(file.exists() for file in left), "torn files are cleared away"

"""The same run on Ray, also when a worker is killed. Needs Ray, and a Linux that lets processes be found."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import miniature
import pytest
import torch

from vitcam.evaluation import RunError, evaluate
from vitcam.evaluation.cluster import make_shards
from vitcam.evaluation.gallery import read_pictures
from vitcam.evaluation.store import RunFolder

PROC = Path("/proc/self/stat")


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parent_of(pid)
    return False


def busy_workers() -> list[int]:
    """The processes below this one that are at work on a shard, as Ray names them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if title.startswith(b"ray::_work_on_shard") and is_ours(int(folder.name)):
            found.append(int(folder.name))
    return found


def kill_workers(rows: Path, count: int, killed: list[int]) -> None:
    """Kills ``count`` workers, each after some more rows have been stored."""
    stored = 0
    deadline = time.monotonic() + 90
    while len(killed) < count and time.monotonic() < deadline:
        time.sleep(0.01)
        parts = len(list(rows.glob("part-*")))
        workers = [pid for pid in busy_workers() if pid not in killed]
        if parts > stored and workers:
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
            stored = parts + 1


@pytest.mark.slow
@pytest.mark.skipif(not PROC.exists(), reason="there is no /proc in which a worker's process could be found")
def test_a_killed_workers_shard_is_done_again(tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    data = miniature.make_dataset(tmp_path / "data", images=35)
    settings = {"protocol": "vitcam", "steps": 4, "batch_size": 3, "store_every": 0}
    given = ("perturbation", f"folder:{data}", miniature.make_model(), ["agcam"])
    torch.set_num_threads(1)  # as each worker has, since rounding depends on it
    local = evaluate(*given, tmp_path / "local", **settings)

    output, killed, progress = tmp_path / "ray", [], []
    killer = threading.Thread(target=kill_workers, args=(output / "rows", 2, killed))
    killer.start()
    # as many workers as there are CPUs: each has one
    summary = evaluate(*given, output, cluster="local", progress=progress.append, workers=0, **settings)
    killer.join()
    assert len(killed) == 2
    assert RunFolder(output).read().equals(RunFolder(tmp_path / "local").read())
    assert summary == local
    images = RunFolder(output).done("perturbation")
    stored = [read_pictures(run, "perturbation", images) for run in (output, tmp_path / "local")]
    assert stored[0] == stored[1] != {}
    assert progress[-1].done == progress[-1].total == 36


def test_shards_hold_every_batch_once():
    batches = [[i] for i in range(11)]
    for count in (1, 2, 3, 7, 11, 40):
        shards = make_shards(batches, count)
        assert len(shards) == min(count, 11)
        assert [batch for shard in shards for batch in shard] == batches
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_unknown_addresses_are_refused(tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    data = miniature.make_dataset(tmp_path / "data", images=3)
    given = ("localization", f"folder:{data}", miniature.make_model(), ["agcam"], tmp_path / "run")
    with pytest.raises(RunError, match=r"a cluster is local, auto or ray://HOST:PORT; got 'elsewhere'"):
        evaluate(*given, cluster="elsewhere")

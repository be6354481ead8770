"""A run that is killed with SIGKILL, again and again, ends with the rows of one that wasn't."""

from __future__ import annotations

import os
import random
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
        stderr=subprocess.PIPE,
    )


def kill_at(process: subprocess.Popen[bytes], rows: Path, parts: int, delay: float) -> bool:
    """Kills it ``delay`` seconds after it has stored so many parts more; whether it was still at work."""
    wanted = len(list(rows.glob("part-*"))) + parts
    deadline = time.monotonic() + 60
    while process.poll() is None and len(list(rows.glob("part-*"))) < wanted:
        assert time.monotonic() < deadline, "it stores nothing"
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode == -9


@pytest.mark.slow
def test_rows_are_those_of_an_undisturbed_run(tmp_path):
    data = miniature.make_dataset(tmp_path / "data", images=41)
    output = tmp_path / "killed"
    rng = random.Random(7)
    killed = [
        kill_at(start(data, output, "all"), output / "rows", rng.choice([1, 2, 3]), rng.uniform(0, 0.15))
        for _ in range(3)
    ]
    assert all(killed), "none of the runs may have come to its end before it was killed"
    left = list(output.rglob("*.part"))
    stored = {part: part.read_bytes() for part in (output / "rows").glob("part-*")}
    last = start(data, output, "all")
    _, errors = last.communicate(timeout=120)
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
        images = RunFolder(output).done(task)
        assert read_pictures(output, task, images) == read_pictures(undisturbed, task, images) != {}
    assert (output / "summary.json").read_text() == (undisturbed / "summary.json").read_text()
    assert all(part.read_bytes() == content for part, content in stored.items()), "what is stored is touched"
    assert not any(file.exists() for file in left), "torn files are cleared away"

"""The same run on Ray, also when workers are killed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import miniature
import pytest
import torch

from vitcam import LoadedModel
from vitcam.evaluation import RunError, cluster, evaluate
from vitcam.evaluation.cluster import make_shards
from vitcam.evaluation.gallery import read_pictures
from vitcam.evaluation.store import RunFolder

AFTER = (1, 4)
"""How many files of rows must have been stored before the first worker is killed, and the second."""


def deadly(model: LoadedModel, rows: Path) -> LoadedModel:
    """A model that kills its process amid the work, unless that is this one: once after each count of ``AFTER``."""
    tester = os.getpid()

    def kill(*_: object) -> None:
        stored = len(list(rows.glob("part-*")))
        for after in AFTER:
            if os.getpid() != tester and stored >= after:
                with contextlib.suppress(FileExistsError):
                    rows.with_name(f"killed-after-{after}").touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)

    model.module.register_forward_pre_hook(kill)
    return model


def test_workers_and_reports_find_the_dataset_from_other_folders(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray isn't installed")
    handed = []
    monkeypatch.setattr(
        cluster, "run_on_ray", lambda address, folder, job, *_: handed.append(job.dataset.root)
    )
    miniature.make_dataset(tmp_path / "data", images=3)
    monkeypatch.chdir(tmp_path)
    evaluate("localization", "folder:data", miniature.make_model(), ["center"], "run", cluster="local")
    assert handed == [tmp_path / "data"]
    assert RunFolder(tmp_path / "run").settings()["data"] == f"folder:{tmp_path / 'data'}"


@pytest.mark.slow
def test_a_killed_workers_shard_is_done_again(tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    data = miniature.make_dataset(tmp_path / "data", images=35)
    settings = {"protocol": "vitcam", "steps": 4, "batch_size": 3, "store_every": 0}
    output = tmp_path / "ray"
    task, photographs, methods = "perturbation", f"folder:{data}", ["agcam"]
    torch.set_num_threads(1)  # as each worker has, since rounding depends on it
    local = evaluate(task, photographs, miniature.make_model(), methods, tmp_path / "local", **settings)

    progress = []
    model = deadly(miniature.make_model(), output / "rows")
    # as many workers as there are CPUs: each has one
    cluster = {"cluster": "local", "progress": progress.append, "workers": 0}
    summary = evaluate(task, photographs, model, methods, output, **cluster, **settings)
    assert sorted(path.name for path in output.glob("killed-*")) == [f"killed-after-{i}" for i in AFTER]
    assert RunFolder(output).read().equals(RunFolder(tmp_path / "local").read())
    assert summary == local
    images = RunFolder(output).stored("perturbation")
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

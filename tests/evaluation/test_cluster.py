"""The same run on Ray, also when workers are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import miniature
import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal

from vitcam import LoadedModel
from vitcam.evaluation import RunError, cluster, evaluate
from vitcam.evaluation.gallery import read_pictures
from vitcam.evaluation.interrupts import same_handler
from vitcam.evaluation.placing import Placing, place
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
        cluster, "run_on_ray", lambda address, store, *_: handed.append(store.job.dataset.root)
    )
    miniature.make_dataset(tmp_path / "data", images=3)
    monkeypatch.chdir(tmp_path)
    evaluate("localization", "folder:data", miniature.make_model(), ["center"], "run", cluster="local")
    assert handed == [tmp_path / "data"]
    assert RunFolder(tmp_path / "run").settings()["data"] == f"folder:{tmp_path / 'data'}"


@pytest.mark.slow
def test_a_killed_workers_batch_is_done_again(tmp_path):
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_sigterm_ends_a_run_on_a_cluster_too(tmp_path):
    """Ray takes the signal for itself as it starts, and would keep it."""
    pytest.importorskip("ray", reason="Ray isn't installed")
    data, output = miniature.make_dataset(tmp_path / "data", images=35), tmp_path / "run"

    def end(progress):
        if progress.done >= 6:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = {"cluster": "local", "workers": 1, "batch_size": 3, "store_every": 600}
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"):
        evaluate(
            "localization",
            f"folder:{data}",
            miniature.make_model(),
            ["center"],
            output,
            progress=end,
            **settings,
        )
    assert RunFolder(output).read()["image"].n_unique() >= 6
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_budget_ends_a_sanity_run_on_a_cluster(tmp_path):
    """And the next goes on, on one machine."""
    pytest.importorskip("ray", reason="Ray isn't installed")
    data = miniature.make_dataset(tmp_path / "data", images=11)
    tests = ["randomisation", "random-logit", "max-sensitivity"]
    settings = {"tests": tests, "protocol": "vitcam", "batch_size": 3}
    torch.set_num_threads(1)  # as each worker has, since rounding depends on it

    def measured(output, **more):
        model = miniature.make_model()
        evaluate("sanity", f"folder:{data}", model, ["agcam"], output, **settings, **more)
        return RunFolder(output).read()

    first = measured(tmp_path / "run", budget=0.01, cluster="local", workers=1)
    assert 0 < first["image"].n_unique() < 12
    rows, after = (measured(tmp_path / output, budget=10**6) for output in ("whole", "run"))
    # parameters lie elsewhere in a worker's memory, on which the last digit of a product may depend
    assert_frame_equal(after, rows, abs_tol=1e-5, rel_tol=0)


@pytest.fixture
def cluster_of():
    """Starts a Ray cluster of nodes with these CPUs and GPUs, which Ray only counts."""
    pytest.importorskip("ray", reason="Ray isn't installed")
    import ray
    from ray.cluster_utils import Cluster

    started = []

    def start(*nodes):
        (cpus, gpus), *others = nodes
        head = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False}
        with same_handler():
            started.append(Cluster(initialize_head=True, head_node_args=head))
            for cpus, gpus in others:
                started[0].add_node(num_cpus=cpus, num_gpus=gpus)
            ray.init(address=started[0].address, log_to_driver=False, logging_level="ERROR")
        return started[0]

    yield start
    ray.shutdown()
    for each in started:
        each.shutdown()


@pytest.mark.slow
def test_two_nodes_with_a_gpu_and_a_head_without(tmp_path, cluster_of):
    """A worker that asked for its share of all CPUs, four, would fit on neither of the nodes, and wait for ever."""
    data = miniature.make_dataset(tmp_path / "data", images=11, broken=False)
    cluster_of((4, 0), (2, 1), (2, 1))
    progress = []
    given = ("localization", f"folder:{data}", miniature.make_model(), ["center"], tmp_path / "run")
    started = time.monotonic()
    summary = evaluate(*given, cluster="auto", workers=0, batch_size=2, progress=progress.append)
    assert time.monotonic() - started < 60
    numbers = summary["localization"]["center"]
    assert numbers["images"] + numbers["skipped_wrong"] == 11
    assert [each.done for each in progress] == sorted(each.done for each in progress)
    assert len({each.done for each in progress}) == 1 + 6  # after every batch


@pytest.mark.slow
def test_workers_that_find_no_place_are_an_error(tmp_path, monkeypatch, cluster_of):
    import ray

    data = miniature.make_dataset(tmp_path / "data", images=3)
    cluster_of((1, 0))
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)

    @ray.remote(num_cpus=1)
    class Other:
        def here(self):
            pass

    other = Other.remote()
    ray.get(other.here.remote())
    given = ("localization", f"folder:{data}", miniature.make_model(), ["center"], tmp_path / "run")
    message = r"no worker has found a place for \d+ seconds: each asks for 1 CPUs of one node, and the nodes have 1 C"
    with pytest.raises(RunError, match=message):
        evaluate(*given, cluster="auto", workers=0)
    assert cluster.PATIENCE < 60


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([(4, 0), (8, 1), (8, 1)], 0, Placing(2, 8, 1.0)),  # two GPUs, and a head without
        ([(4, 0), (2, 1), (16, 1)], 0, Placing(2, 2, 1.0)),
        ([(4, 0), (8, 1), (8, 1)], 4, Placing(4, 4, 0.5)),
        ([(4, 0), (8, 1), (8, 1)], 3, Placing(3, 4, 0.5)),
        ([(2, 4)], 0, Placing(2, 1, 1.0)),  # fewer CPUs than GPUs
        ([(3, 0), (5, 0)], 0, Placing(8, 1, 0.0)),
        ([(3, 0), (5, 0)], 2, Placing(2, 3, 0.0)),
        ([(3, 0), (5, 0)], 100, Placing(8, 1, 0.0)),
        ([(1, 0)], 1, Placing(1, 1, 0.0)),
    ],
)
def test_workers_ask_for_what_a_node_has(nodes, workers, expected):
    assert place([{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes], workers) == expected


def test_every_placing_fits():
    random = np.random.default_rng(0)
    for _ in range(300):
        nodes = [{"CPU": int(random.integers(1, 9)), "GPU": int(random.integers(0, 3))} for _ in range(3)]
        found = place(nodes, int(random.integers(0, 12)))
        room = 0
        for node in nodes:
            by_gpu = int(node["GPU"] / found.gpus + 1e-9) if found.gpus else found.workers
            room += min(node["CPU"] // found.cpus, by_gpu)
        assert room >= found.workers >= 1


def test_no_room_is_said():
    with pytest.raises(RunError, match=r"needs a CPU and a GPU; the nodes have 4 CPUs; 0 CPUs and 1 GPUs"):
        place([{"CPU": 4}, {"GPU": 1}], 0)


class Ray:
    """Stands in for Ray: workers at different speeds, on a clock that only moves when something is done."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ArithmeticError)

    def __init__(self, seconds):
        self.clock, self.seconds, self.ends = 0.0, list(seconds), {}

    def remote(self, kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.hire))

    def hire(self, threads):
        mine = self.seconds.pop(0)

        def call(seconds):
            def remote(*given):
                me = object()
                self.ends[me] = self.clock + seconds
                return me

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(placed=call(0), begin=call(0), work=call(mine))

    def wait(self, refs, timeout):
        first = min(refs, key=self.ends.get)
        self.clock = max(self.clock, self.ends[first])
        return [first], None

    def get(self, ref):
        return [], []

    def kill(self, handle):
        pass


def test_a_slow_worker_holds_up_nobody():
    ray = Ray([10, 1, 1, 1, 1, 1, 1, 1])
    batches = deque([i] for i in range(71))
    crew = cluster._Crew(ray, Placing(8, 1, 0.0), [], None, "localization", batches)
    done = [batch[0] for batch, _ in crew.results()]
    assert sorted(done) == list(range(71))
    assert ray.clock == 10  # as good as can be: 71 batches, seven quick workers and a slow one with one batch


@pytest.mark.parametrize("enough", [1, 9, 40])
def test_what_is_done_when_it_is_enough_has_no_holes(enough):
    """Fast workers hand out less: a slow worker's batch, and the one that is kept for it, are waited for."""
    ray = Ray([10, 1, 3, 1])
    batches = deque([i] for i in range(71))
    crew = cluster._Crew(ray, Placing(4, 1, 0.0), [], None, "localization", batches)
    done = []
    for batch, _ in crew.results():
        done += batch
        if len(done) == enough:
            crew.finish()
    assert sorted(done) == list(range(len(done)))
    assert enough <= len(done) <= enough + 8


def test_unknown_addresses_are_refused(tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    data = miniature.make_dataset(tmp_path / "data", images=3)
    given = ("localization", f"folder:{data}", miniature.make_model(), ["agcam"], tmp_path / "run")
    with pytest.raises(RunError, match=r"a cluster is local, auto or ray://HOST:PORT; got 'elsewhere'"):
        evaluate(*given, cluster="elsewhere")

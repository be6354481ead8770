"""The same evaluation on a Ray cluster; the only file that knows Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from vitcam.errors import VitcamError
from vitcam.evaluation.errors import RunError
from vitcam.evaluation.job import Job
from vitcam.evaluation.rows import Task
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.work import pending_batches, run_batches

SHARDS_PER_WORKER = 4
"""So that a slow worker, or one that dies, holds up a quarter of its share at most."""

RETRIES = 5


def run_on_ray(
    address: str,
    folder: RunFolder,
    job: Job,
    task: Task,
    batches: Sequence[Sequence[int]],
    workers: int,
    store_every: float,
    report: Callable[[int], None],
) -> None:
    """Turns batches of photographs into stored rows, in shards over a cluster's workers.

    Each worker writes its own files into the run's folder. When one is killed, Ray gives its shard to another,
    which skips what is stored already. A worker has a GPU to itself if the cluster has any.

    Args:
        address: "local" (a cluster of this machine, for the time of the run), "auto" (the one that this
            machine belongs to) or "ray://HOST:PORT".
        folder: on a file system that all machines share under this path.
        job, task, batches, store_every, report: as for ``run_batches``.
        workers: shards that are worked on at a time; 0 for one per GPU, or per CPU where there is none.

    Raises:
        RunError: Ray isn't installed or can't be reached, a worker doesn't see the folder, or a shard has
            killed its worker time after time.
    """
    if not batches:
        return
    with _connected(address) as ray:
        resources = ray.cluster_resources()
        cpus, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
        at_once = min(workers or gpus or cpus, cpus)
        threads = cpus // at_once
        work = ray.remote(_work_on_shard).options(
            num_cpus=threads, num_gpus=min(1.0, gpus / at_once), max_retries=RETRIES
        )
        handed = ray.put(replace(job, model=replace(job.model, text_encoder=None)))
        waiting = {
            work.remote(folder.path.absolute(), handed, task, shard, threads, store_every): shard
            for shard in make_shards(batches, at_once * SHARDS_PER_WORKER)
        }
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            shard = waiting.pop(ready)
            _result(ray, ready, shard)
            report(sum(map(len, shard)))


def make_shards(batches: Sequence[Sequence[int]], count: int) -> list[list[Sequence[int]]]:
    """Batches in at most ``count`` runs of about the same length; batches stay whole.

    Example:
        >>> make_shards([[0, 1], [2, 3], [4]], 2)
        [[[0, 1]], [[2, 3], [4]]]
    """
    count = min(count, len(batches))
    edges = [len(batches) * shard // count for shard in range(count + 1)]
    return [list(batches[start:end]) for start, end in pairwise(edges)]


def _work_on_shard(
    path: Path, job: Job, task: Task, shard: Sequence[Sequence[int]], threads: int, store_every: float
) -> None:
    """Runs in a worker's process, and again in another's if that one dies."""
    folder = RunFolder(path)
    if not (path / "run.json").exists():
        raise RunError(
            f"a worker of the cluster doesn't see {path}: put the run on a file system that all machines share"
        )
    torch.set_num_threads(threads)
    job.model.module.to("cuda" if torch.cuda.is_available() else "cpu")
    left = pending_batches(folder, job, task, shard)
    # reading ahead in one thread: the cluster's other CPUs have shards of their own
    run_batches(folder, job, task, left, 1, store_every, lambda images: None)


def _result(ray: Any, ready: Any, shard: Sequence[Sequence[int]]) -> None:
    try:
        ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VitcamError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise RunError(
            f"a shard of {sum(map(len, shard))} images has ended its worker {RETRIES + 1} times, perhaps for want "
            f"of memory ({str(error).splitlines()[0]}): try a smaller batch size or fewer workers. What is stored "
            "is whole; the same command goes on from there"
        ) from error


def find_ray() -> Any:
    """The library.

    Raises:
        RunError: it isn't installed.
    """
    try:
        import ray
    except ImportError as error:
        raise RunError("a cluster needs Ray, which isn't installed: pip install 'vitcam[cluster]'") from error
    return ray


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    ray = find_ray()
    if ray.is_initialized():  # by the program that vitcam is a part of
        yield ray
        return
    if address not in ("local", "auto") and not address.startswith("ray://"):
        raise RunError(f"a cluster is local, auto or ray://HOST:PORT; got {address!r}")
    try:
        local = {"include_dashboard": False} if address == "local" else {}
        ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"can't reach the cluster {address!r}: {str(error).splitlines()[0]}. For one of this machine alone "
            "take 'local'"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()

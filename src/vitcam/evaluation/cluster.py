"""The same evaluation on a Ray cluster; the only file that knows Ray."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vitcam.errors import RunError, VitcamError
from vitcam.evaluation.cluster_worker import Worker
from vitcam.evaluation.interrupts import same_handler
from vitcam.evaluation.placing import Placing, described, place
from vitcam.evaluation.times import Times
from vitcam.evaluation.work import Storing

RETRIES = 5
"""How often a batch is given to another worker after its own has died."""

PATIENCE = 50.0
"""Seconds after which workers that found no place are an error, if none has."""

Batch = Sequence[int]


def run_on_ray(
    address: str,
    store: Storing,
    batches: Sequence[Batch],
    workers: int,
    report: Callable[[int], bool],
    times: Times,
) -> None:
    """Turns batches of photographs into stored rows, each by the first of a cluster's workers that is free.

    The workers compute, and this process stores what they return. A batch whose worker dies goes to another. A worker
    has a GPU to itself if the cluster has as many.

    Args:
        address: "local" (a cluster of this machine, for the time of the run), "auto" (the one that this
            machine belongs to) or "ray://HOST:PORT".
        store: gets the rows; says what is to be done.
        batches, report: as for ``run_batches``; what workers are busy with is waited for, so that what is done is
            always the first so many batches.
        workers: how many; 0 for one per GPU, or per CPU where there is none.
        times: gets the seconds of all workers together.

    Raises:
        RunError: Ray isn't installed or can't be reached, no worker finds a place within a minute, or a batch has
            killed its worker time after time.
    """
    if not batches:
        return
    with _connected(address) as ray, store:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        placing = place(nodes, workers)
        handed = ray.put(replace(store.job, model=replace(store.job.model, text_encoder=None)))
        crew = _Crew(ray, placing, nodes, handed, store.task, deque(batches))
        try:
            for batch, (rows, pictures, seconds) in crew.results():
                store.add(rows, pictures)
                times.add(seconds)
                if report(len(batch)):
                    crew.finish()
        finally:
            crew.dismiss()


@dataclass
class _Member:
    """A worker: what it is busy with (``None`` until it has its place and the job), and what is kept for it."""

    handle: Any
    placed: bool = False
    batch: Batch | None = None
    kept: Batch | None = None


@dataclass
class _Crew:
    """Workers that take batches as they get free."""

    ray: Any
    placing: Placing
    nodes: Sequence[dict[str, float]]
    job: Any
    task: str
    left: deque[Batch]
    deaths: dict[int, int] = field(default_factory=dict)
    busy: dict[Any, _Member] = field(default_factory=dict)

    def results(self) -> Iterator[tuple[Batch, Any]]:
        """Every batch with what became of it, in the order in which they are done."""
        for _ in range(min(self.placing.workers, len(self.left))):
            self._hire()
        waited_since = time.monotonic()
        while self.busy:
            done, _ = self.ray.wait(list(self.busy), timeout=1.0)
            if not done:
                if not any(member.placed for member in self.busy.values()):
                    self._lose_patience(time.monotonic() - waited_since)
                continue
            member = self.busy.pop(done[0])
            batch, member.batch = member.batch, None
            try:
                result = self.ray.get(done[0])
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, VitcamError):
                    raise error.cause from error
                raise
            except self.ray.exceptions.RayError as error:
                self._bury(member, batch, error)
                waited_since = time.monotonic()
                continue
            waited_since = time.monotonic()
            if not member.placed:
                member.placed = True
                self.busy[member.handle.begin.remote(self.job, self.task)] = member
                continue
            self._employ(member)
            if batch is not None:
                yield batch, result

    def finish(self) -> None:
        """Hands out no further batch. Those that are, kept ones too, are done: none before them is left out."""
        self.left.clear()

    def dismiss(self) -> None:
        """Ends all workers, those too that are still at work."""
        for member in self.busy.values():
            self.ray.kill(member.handle)

    def _hire(self) -> None:
        worker = self.ray.remote(Worker).options(num_cpus=self.placing.cpus, num_gpus=self.placing.gpus)
        member = _Member(worker.remote(self.placing.cpus))
        self.busy[member.handle.placed.remote()] = member

    def _employ(self, member: _Member) -> None:
        """Gives a free worker its next batch, and keeps the one after that for it, which it reads meanwhile."""
        batch, member.kept = member.kept or self._next(), None
        if batch is None:
            self.ray.kill(member.handle)
            return
        member.batch = batch
        # when little is left, nothing is kept, so that nobody who is slow has two
        member.kept = self.left.popleft() if len(self.left) > self.placing.workers else None
        self.busy[member.handle.work.remote(batch, member.kept or ())] = member

    def _next(self) -> Batch | None:
        """What is left, or else what is kept for one that is still busy."""
        if self.left:
            return self.left.popleft()
        for other in self.busy.values():
            if other.kept is not None:
                batch, other.kept = other.kept, None
                return batch
        return None

    def _bury(self, member: _Member, batch: Batch | None, error: Exception) -> None:
        """Puts back what a dead worker had, and hires another."""
        why = (str(error).splitlines() or [type(error).__name__])[0]
        first, what = (batch[0], f"a batch of {len(batch)} images") if batch else (-1, "taking the job")
        deaths = self.deaths[first] = self.deaths.get(first, 0) + 1
        if deaths > RETRIES:
            raise RunError(
                f"{what} has ended its worker {deaths} times, perhaps for want of memory ({why}): try a smaller "
                "batch size or fewer workers. What is stored is whole; the same command goes on from there"
            ) from error
        self.left.extendleft(each for each in (member.kept, batch) if each is not None)
        self._hire()

    def _lose_patience(self, waited: float) -> None:
        if waited > PATIENCE:
            asked = f"{self.placing.cpus} CPUs" + (
                f" and {self.placing.gpus:g} GPUs" if self.placing.gpus else ""
            )
            raise RunError(
                f"no worker has found a place for {waited:.0f} seconds: each asks for {asked} of one node, and the "
                f"nodes have {described(self.nodes)}, which other work may hold. Wait for that, or say --workers"
            )


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
        with same_handler():
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

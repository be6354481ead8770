"""One task of a run: its batches, here or on a cluster, until all are done or it is to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.measure import Task
from vitcam.evaluation.plan import Plan
from vitcam.evaluation.settings import RANDOM
from vitcam.evaluation.stopping import Limits, Stopping
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.times import TOTAL, Times, together
from vitcam.evaluation.work import Storing, pending_batches, run_batches
from vitcam.progress import watched


@dataclass(frozen=True)
class Progress:
    """How far a task is.

    Attributes:
        task: the one that is running.
        done: images that are stored or about to be.
        total: images of the task.
        restored: those of ``done`` that an earlier command had done.
    """

    task: Task
    done: int
    total: int
    restored: int


def run_task(
    store: Storing,
    plan: Plan,
    limits: Limits,
    until: float | None,
    cluster: str | None,
    workers: int,
    progress: bool | Callable[[Progress], None],
    tell: Callable[[str], None],
) -> tuple[bool, dict[str, Any]]:
    """Does what isn't stored yet of a task, until it is to stop.

    Args:
        store: gets the rows; says what is to be done.
        plan: of which photographs.
        limits: say when to stop, where the plan is in a random order.
        until: on ``time.monotonic``'s clock, when time is up; None for never.
        cluster, workers, progress, tell: as for ``evaluate``.

    Returns:
        Whether anything was done; and what ``summary.json`` says of how it ended, besides counts and means: nothing
        where the order isn't random.
    """
    batches = plan.batches(store.job.settings.batch_size)
    pending = pending_batches(store.folder, store.job, store.task, batches)
    total = len(plan.indices)
    restored = total - sum(map(len, pending))
    if restored:
        tell(f"{restored} of {total} images of the {store.task} task are stored already and are skipped")
    stop, times = Stopping(limits, store, restored, total, until), Times()
    with _reporting(progress) as show:
        report = _reported(stop, show)
        if pending and not stop.is_narrow():
            _run(store, pending, cluster, workers, report, times)
    stored = store.folder.times()
    of_task = together(stored.get(store.task, {}), times) | {"done": stop.done, **stop.facts}
    store.folder.write_times({**stored, store.task: of_task})
    if times.images:
        whose = "" if cluster is None else ", of all workers together"
        tell(f"Time of the {store.task} task{whose}: {times.sentence}")
    if not plan.order:
        return bool(times.images), {}
    tell(stop.sentence)
    return bool(times.images), stop.facts


def _reported(stop: Stopping, show: Callable[[Progress], None]) -> Callable[[int], bool]:
    """Tells of the images of each batch, and says whether that is enough."""
    state = Progress(stop.store.task, stop.done, stop.planned, stop.done)
    show(state)

    def report(images: int) -> bool:
        nonlocal state
        state = replace(state, done=state.done + images)
        show(state)
        return stop.after(images)

    return report


def _run(
    store: Storing,
    pending: Sequence[Sequence[int]],
    cluster: str | None,
    workers: int,
    report: Callable[[int], bool],
    times: Times,
) -> None:
    """Does the batches, and counts where the time goes."""

    def counted(images: int) -> bool:
        times.images += images
        return report(images)

    with times.counting():
        if cluster is None:
            with times.of(TOTAL):
                run_batches(store, pending, workers, counted, times)
        else:
            from vitcam.evaluation.cluster import run_on_ray

            run_on_ray(cluster, store, pending, workers, counted, times)


@contextmanager
def _reporting(progress: bool | Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
    if callable(progress):
        yield progress
        return
    with watched(progress, "image") as watch:
        yield lambda state: watch(state.done, state.total)


def is_shuffled(folder: RunFolder, limits: Limits) -> bool:
    """Whether the order is random, which is decided when a run begins.

    Raises:
        RunError: what was done in the dataset's order would be no sample of the whole.
    """
    if not (folder.path / "run.json").exists():
        return bool(limits)
    begun = folder.settings().get("order") == RANDOM
    if limits and not begun:
        raise RunError(
            f"{folder.path} was begun without a budget or target width, in the dataset's own order: stopped before "
            "its end, it would have measured the first classes only. Go on without --budget and --target-width "
            "(budget, target_width), or give another output folder for a run in random order"
        )
    return begun

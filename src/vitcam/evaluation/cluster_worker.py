"""What runs in a cluster's processes. It is imported in no time, so that a worker is soon known to have its place."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitcam.evaluation.gallery import Picture
    from vitcam.evaluation.job import RunJob
    from vitcam.evaluation.loading import Item, Unreadable
    from vitcam.evaluation.measure import Task
    from vitcam.evaluation.rows import Row


class Worker:
    """Makes rows of batches, one after the other; reads the next one's photographs meanwhile.

    Args:
        threads: that it computes with.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._job: RunJob | None = None
        self._ahead: tuple[Sequence[int], Future[list[Item | Unreadable]]] | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="vitcam")

    def placed(self) -> None:
        """Returns as soon as the worker has its place."""

    def begin(self, job: RunJob, task: Task) -> None:
        """Takes the job; it is kept for all batches."""
        import torch

        torch.set_num_threads(self._threads)
        job.model.module.to("cuda" if torch.cuda.is_available() else "cpu")
        self._job, self._task, self._photographs = job, task, job.photographs(task)

    def work(
        self, batch: Sequence[int], following: Sequence[int]
    ) -> tuple[list[Row], list[Picture], dict[str, float]]:
        """The rows of a batch, without their heatmaps, their pictures, and the seconds that each phase took.

        Args:
            batch: indices of photographs.
            following: those that are read meanwhile, since they are likely to come next.
        """
        from vitcam.evaluation.times import PICTURES, TOTAL, WAITING, Times, timed
        from vitcam.evaluation.work import batch_pictures, batch_rows

        assert self._job is not None
        times = Times()
        ahead, self._ahead = self._ahead, None
        with times.counting(), times.of(TOTAL):
            with timed(WAITING):
                items = ahead[1].result() if ahead and ahead[0] == batch else self._read(batch)
            if following:
                self._ahead = (following, self._reading.submit(self._read, following))
            rows = batch_rows(items, self._job, self._task)
            with timed(PICTURES):
                pictures = batch_pictures(items, rows, self._job, self._task)
        stripped = [{name: value for name, value in row.items() if name != "heatmap"} for row in rows]
        return stripped, pictures, times.seconds

    def _read(self, batch: Sequence[int]) -> list[Any]:
        return [self._photographs[index] for index in batch]

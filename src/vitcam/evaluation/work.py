"""From batches of photographs to stored rows: what a run does, on one machine or on many."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from vitcam.errors import ModelError, RunError, is_out_of_memory
from vitcam.evaluation.failing import OF_IMAGES, out_of_memory, rows_of_the_others
from vitcam.evaluation.frames import pl
from vitcam.evaluation.gallery import SIDE, Picture, pictures_frame, to_pictures
from vitcam.evaluation.job import RunJob
from vitcam.evaluation.loading import Item, MadeFrom, Unreadable, load_batches
from vitcam.evaluation.measure import Task
from vitcam.evaluation.measuring import ROWS
from vitcam.evaluation.rows import MADE_FROM, Row, failed_row, to_frame
from vitcam.evaluation.shown import laid, seen
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.times import PICTURES, STORING, WAITING, Times, timed


class Storing:
    """Stores the rows of whole batches every few seconds, and what is left when the ``with`` is left, however it is.

    Args:
        folder: gets the rows, and the pictures of those that have scores.
        job: what is to be done.
        task: which rows.
        store_every: after how many seconds rows are stored.
        check: is called before anything is stored; raises where nothing may be.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: RunJob,
        task: Task,
        store_every: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.job, self.task = folder, job, task
        self._columns = job.settings.columns(task, job.masks)
        self._store_every, self._check = store_every, check
        self._rows: list[Row] = []
        self._pictures: list[Picture] = []
        self._stored = time.monotonic()
        self._failed = False

    def add(self, rows: Sequence[Row], pictures: Sequence[Picture]) -> None:
        """Takes the rows of whole images.

        Raises:
            RunError: what is waiting can't be stored.
        """
        self._rows.extend(rows)
        self._pictures.extend(pictures)
        if time.monotonic() - self._stored >= self._store_every:
            self._store()

    def flush(self) -> None:
        """Stores what is waiting.

        Raises:
            RunError: it can't be stored.
        """
        self._store()

    def __enter__(self) -> Storing:
        self._stored = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        # whatever ends the run, Ctrl-C above all, what is done stays done; but where the folder can't be written,
        # trying again would only hide why
        if kind is None or not self._failed:
            self._store()

    def _store(self) -> None:
        if self._rows:
            try:
                with timed(STORING):
                    self._check()
                    self.folder.append(to_frame(self._rows, self._columns), pictures_frame(self._pictures))
            except RunError:
                self._failed = True
                raise
            self._rows.clear()
            self._pictures.clear()
        self._stored = time.monotonic()


def run_batches(
    store: Storing,
    batches: Sequence[Sequence[int]],
    workers: int,
    report: Callable[[int], bool],
    times: Times | None = None,
) -> None:
    """Turns batches of photographs into stored rows, until there are no more or it is told to stop.

    Args:
        store: gets the rows; says what is to be done.
        batches: indices of photographs.
        workers: threads that read ahead.
        report: is called with the number of images after each batch; says whether that is enough.
        times: gets the seconds of reading.
    """
    job, task = store.job, store.task
    reading = contextlib.closing(load_batches(job.photographs(task), batches, workers, times))
    with store, reading as loaded:
        while True:
            with timed(WAITING):
                batch = next(loaded, None)
            if batch is None:
                break
            rows = batch_rows(batch, job, task)
            with timed(PICTURES):
                pictures = batch_pictures(batch, rows, job, task)
            store.add(rows, pictures)
            if report(len(batch)):
                break


def pending_batches(
    folder: RunFolder, job: RunJob, task: Task, batches: Sequence[Sequence[int]]
) -> list[Sequence[int]]:
    """The batches with an image that isn't stored yet, or that may no longer fail: it couldn't be read before and now
    can, or what the model failed on has changed.

    They are done as a whole: what else is in a batch decides the last digits.
    """
    rows, ids, photographs = folder.stored_rows.of(task), job.dataset.ids, job.photographs(task)
    scored = set(rows.filter("scored")["image"])
    failed = {
        image: MadeFrom(*made_from)
        for image, *made_from in rows.filter(~pl.col("scored")).select("image", *MADE_FROM).iter_rows()
    }

    def is_done(index: int) -> bool:
        image = ids[index]
        if image not in failed:
            return image in scored
        if failed[image].photograph is None:
            return isinstance(photographs[index], Unreadable)
        return failed[image] == photographs.made_from(index)

    return [batch for batch in batches if not all(map(is_done, batch))]


def batch_rows(batch: Sequence[Item | Unreadable], job: RunJob, task: Task) -> list[Row]:
    """The rows of one batch; methods share its recorded pass.

    An image that the model gives no finite numbers for has a row with an error, as one that can't be read.

    Raises:
        ModelError: the model can't be explained; the batch's images are named.
        RunError: memory has run out.
    """
    failed = [failed_row(task, item.id, item.error) for item in batch if isinstance(item, Unreadable)]
    items = [item for item in batch if isinstance(item, Item)]
    if not items:
        return failed
    rows = ROWS[task]
    try:
        try:
            return failed + rows(items, job)
        except (*OF_IMAGES, ModelError):
            return failed + rows_of_the_others(items, job, task, rows)
    except (*OF_IMAGES, ModelError) as error:
        named = ", ".join(item.id for item in items)
        raise type(error)(f"{error}\nThat was with the batch of {named}") from error
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, len(batch)) from error
        raise


def batch_pictures(
    batch: Sequence[Item | Unreadable], rows: Sequence[Row], job: RunJob, task: Task
) -> list[Picture]:
    """The pictures of the rows that have scores, if they are to be stored."""
    scored = [row for row in rows if "heatmap" in row] if job.gallery else []
    shown = {row["image"] for row in scored}
    how, side = job.model.preprocessing, round(SIDE * job.kind.size)
    inputs = {
        item.id: seen(item.pixels, how) for item in batch if isinstance(item, Item) and item.id in shown
    }
    return to_pictures(task, inputs, scored, [laid(row["heatmap"], how, side) for row in scored], side)

"""From batches of photographs to stored rows: what a run does, on one machine or on many."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from vitcam.errors import ImageError, ModelError
from vitcam.evaluation.errors import RunError
from vitcam.evaluation.gallery import Picture, pictures_frame, to_pictures
from vitcam.evaluation.job import Job
from vitcam.evaluation.loading import Failed, Item, load_batches
from vitcam.evaluation.localizing import localization_columns, localization_rows
from vitcam.evaluation.perturbing import perturbation_columns, perturbation_rows
from vitcam.evaluation.rows import Row, Shape, Task, failed_row, to_frame
from vitcam.evaluation.store import RunFolder


def run_batches(
    folder: RunFolder,
    job: Job,
    task: Task,
    batches: Sequence[Sequence[int]],
    workers: int,
    store_every: float,
    report: Callable[[int], None],
) -> None:
    """Turns batches of photographs into stored rows.

    Args:
        folder: gets the rows, and the pictures of those that have scores.
        job: what is to be done.
        task: which rows.
        batches: indices of photographs.
        workers: threads that read ahead.
        store_every: after how many seconds rows are stored.
        report: is called with the number of images after each batch.
    """
    reading = contextlib.closing(load_batches(job.photographs(task), batches, workers))
    with _buffered(folder, _columns(job, task), store_every) as add, reading as loaded:
        for batch in loaded:
            rows = batch_rows(batch, job, task)
            add(rows, batch_pictures(batch, rows, job, task))
            report(len(batch))


def pending_batches(
    folder: RunFolder, job: Job, task: Task, batches: Sequence[Sequence[int]]
) -> list[Sequence[int]]:
    """The batches with an image that isn't stored yet, or that couldn't be read before and now can.

    They are done as a whole: what else is in a batch decides the last digits.
    """
    stored, ids, photographs = folder.stored(task), job.dataset.ids, job.photographs(task)

    def is_done(index: int) -> bool:
        scored = stored.get(ids[index])
        return scored or (scored is not None and isinstance(photographs[index], Failed))

    return [batch for batch in batches if not all(map(is_done, batch))]


def batch_rows(batch: Sequence[Item | Failed], job: Job, task: Task) -> list[Row]:
    """The rows of one batch; methods share its recorded pass."""
    failed = [failed_row(task, item.id, item.error) for item in batch if isinstance(item, Failed)]
    items = [item for item in batch if isinstance(item, Item)]
    if not items:
        return failed
    rows = localization_rows if task == "localization" else perturbation_rows
    try:
        return failed + rows(items, job)
    except (ImageError, ModelError) as error:
        named = ", ".join(item.id for item in items)
        raise type(error)(f"{error}\nThat was with the batch of {named}") from error


def batch_pictures(
    batch: Sequence[Item | Failed], rows: Sequence[Row], job: Job, task: Task
) -> list[Picture]:
    """The pictures of the rows that have scores, if they are to be stored."""
    scored = [row for row in rows if "heatmap" in row] if job.gallery else []
    shown = {row["image"] for row in scored}
    photographs = {item.id: job.seen(item) for item in batch if isinstance(item, Item) and item.id in shown}
    return to_pictures(task, photographs, scored, [row["heatmap"] for row in scored])


@contextlib.contextmanager
def _buffered(
    folder: RunFolder, columns: Mapping[str, Shape], store_every: float
) -> Iterator[Callable[[list[Row], list[Picture]], None]]:
    """Stores the rows of whole batches every few seconds, and what is left at the end or when interrupted."""
    waiting: list[Row] = []
    pictures: list[Picture] = []
    stored = time.monotonic()

    def store() -> None:
        nonlocal stored
        if waiting:
            folder.append(to_frame(waiting, columns), pictures_frame(pictures))
            waiting.clear()
            pictures.clear()
        stored = time.monotonic()

    def add(rows: list[Row], of_them: list[Picture]) -> None:
        waiting.extend(rows)
        pictures.extend(of_them)
        if time.monotonic() - stored >= store_every:
            store()

    try:
        yield add
    except RunError:  # the folder can't be written; trying again would only hide why
        raise
    except BaseException:  # whatever ends the run, Ctrl-C above all: what is done stays done
        store()
        raise
    store()


def _columns(job: Job, task: Task) -> Mapping[str, Shape]:
    if task == "localization":
        return localization_columns(job.settings, job.masks)
    return perturbation_columns(job.settings)

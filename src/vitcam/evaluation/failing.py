"""What became of a batch that the model, or a test of its maps, failed on, or that memory ran out with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vitcam.errors import ImageError, MapError, MetricError, ModelError, RunError, VitcamError
from vitcam.evaluation.job import RunJob
from vitcam.evaluation.loading import Item
from vitcam.evaluation.measure import Task
from vitcam.evaluation.metrics.probabilities import class_probabilities
from vitcam.evaluation.rows import Row, failed_row

OF_IMAGES = (ImageError, MapError, MetricError)
"""Errors that are an image's own: its maps aren't finite, say."""


def rows_of_the_others(
    items: Sequence[Item], job: RunJob, task: Task, rows: Callable[[Sequence[Item], RunJob], list[Row]]
) -> list[Row]:
    """The rows of a batch that failed as a whole: images that fail alone have an error in theirs.

    The others are done in one batch, as if the failing ones couldn't have been read.

    Args:
        items: of the batch.
        job: what is to be done.
        task: which rows.
        rows: makes them.

    Raises:
        ModelError: the model can't be explained, whatever the image.
        VitcamError: nothing of what failed together fails alone.
    """
    failed = {item.id: error for item in items if (error := _failure(item, job, rows)) is not None}
    left = [item for item in items if item.id not in failed]
    errors = [
        failed_row(task, item.id, f"{item.id}: {failed[item.id]}", *item.made_from)
        for item in items
        if item.id in failed
    ]
    return errors + (rows(left, job) if left else [])


def _failure(
    item: Item, job: RunJob, rows: Callable[[Sequence[Item], RunJob], list[Row]]
) -> VitcamError | None:
    try:
        rows([item], job)
    except OF_IMAGES as error:
        return _unless_broken(error, job)
    except ModelError as error:
        if _has_finite_logits(item, job):
            raise
        return _unless_broken(error, job)
    return None


def _unless_broken(error: VitcamError, job: RunJob) -> VitcamError:
    """The error, unless it is the model's: weights that aren't finite spoil every image."""
    state = job.model.module.state_dict().items()
    broken = [name for name, tensor in state if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{error}. The model's {broken[0]} holds NaN or infinite values: take other weights"
        ) from error
    return error


def _has_finite_logits(item: Item, job: RunJob) -> bool:
    probabilities = class_probabilities(
        job.model.module,
        lambda _: job.tensor([item]),
        1,
        multi_label=job.model.multi_label,
        precision=job.settings.precision,
    )
    return bool(probabilities.isfinite().all())


def out_of_memory(error: BaseException, batch: int) -> RunError:
    """The sentence for it."""
    if batch > 1:
        remedy = (
            f"give the same command with a smaller --batch-size, such as {batch // 2}: it goes on from there"
        )
    else:
        remedy = (
            "not even one at a time fits: take fewer methods at once, a smaller model, --precision bf16 "
            "or another --device"
        )
    return RunError(
        f"memory has run out with a batch of {batch} ({str(error).partition(chr(10))[0][:200]}). What is "
        f"stored is whole; {remedy}"
    )

"""Runs an evaluation, and goes on with one that was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vitcam.errors import DatasetError, RunError
from vitcam.evaluation.costs import write_costs
from vitcam.evaluation.datasets import ClassMatch, Dataset, match_classes
from vitcam.evaluation.datasets.kinds import path_of
from vitcam.evaluation.datasets.torch_dataset import Indexed
from vitcam.evaluation.describing import describe_run
from vitcam.evaluation.interrupts import terminable
from vitcam.evaluation.job import RunJob
from vitcam.evaluation.lock import locked
from vitcam.evaluation.measure import Protocol, Task
from vitcam.evaluation.measuring_costs import measure_costs
from vitcam.evaluation.opening import from_anywhere, logits_of_model, opened
from vitcam.evaluation.plan import Plan, make_plan
from vitcam.evaluation.protocol import not_measured, usual_protocol
from vitcam.evaluation.settings import RunSettings, check_same, with_controls
from vitcam.evaluation.sources import check_rows, check_sources, keep_sources, verify_photographs
from vitcam.evaluation.stopping import Limits, Shares
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.summary import problems, summarize, unmoved_of
from vitcam.evaluation.sure import fitted
from vitcam.evaluation.task import Progress, is_shuffled, run_task
from vitcam.evaluation.work import Storing
from vitcam.models import LoadedModel
from vitcam.models.device import on_device
from vitcam.recording import Precision
from vitcam.writing import check_local


def evaluate(
    task: Task | Literal["all"],
    data: str | Dataset | Indexed,
    model: str | LoadedModel,
    methods: Sequence[str],
    output: str | Path,
    *,
    protocol: Protocol | None = None,
    tests: Sequence[str] = (),
    threshold: float = 0.5,
    limit: int | None = None,
    steps: int = 10,
    batch_size: int = 8,
    precision: Precision = "fp32",
    seed: int = 0,
    workers: int = 1,
    device: str | None = None,
    cluster: str | None = None,
    store_every: float = 5.0,
    gallery: bool = True,
    verify: bool = False,
    allow_version_change: bool = False,
    budget: str | float | None = None,
    target_width: float | None = None,
    data_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[Progress], None] = False,
    tell: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Measures explanation methods on a dataset, resumably.

    The output folder gets ``run.json`` (every setting), ``rows/part-*.parquet`` (one row per image × method ×
    target), ``gallery/`` (small pictures for the report) and ``summary.json``. Killed at any moment, the same
    call goes on where it was and ends with the same numbers. The controls ``random`` and ``center`` are always
    evaluated too.

    ``localization`` explains the predicted class; images predicted wrong are counted and left out. Of datasets that
    say so (``Dataset.explained``; mosaics do) it explains every class that is in an image, whatever is predicted.
    ``perturbation`` explains and scores the ground-truth class of all images, also of clips, sounds, volumes and
    pictures of many bands, by the measures that are defined along their axes (``Measure.axes``). ``sanity`` explains
    the predicted class of all images, right or wrong, and explains it again under noise and with weights that were
    drawn anew.

    Args:
        task: "localization", "perturbation", "sanity", or "all" for the first two.
        data: ``KIND:PATH`` as for ``open_dataset``, or a dataset; a ``torch.utils.data.Dataset`` of (image, label),
            or of (image, label, boxes or mask), too: see ``vitcam.evaluation.datasets.torch_dataset``. For a model
            that takes no photographs, ``folder:PATH``, a folder of clips, sounds, volumes or pictures of many bands
            per class.
        model: a specification as for ``load_model``, or a loaded model. One that is asked about texts (CLIP)
            gets "a photo of a CLASS" for each of the dataset's classes.
        methods: names, with options in brackets.
        output: the run's folder.
        protocol: "paper" (arXiv 2402.04563, to the pixel), or "vitcam": the model's own preprocessing, masks
            where there are any, thresholds swept, all perturbation and all sanity tests. None for the paper's where
            it has tests of the task, which it hasn't of ``sanity``.
        tests: which of the protocol's tests are run, such as ["road", "saco"] (``measures.MEASURES``); none for
            all.
        threshold: above which a heatmap's pixels count, in 0..1.
        limit: how many images, drawn from the whole dataset; None for all.
        steps: of the perturbation curves.
        batch_size: images that go through the model at once.
        precision: of the forward passes: "fp32", "bf16" or "fp16". In ``perturbation`` those of perturbed images;
            maps are computed in fp32. In ``localization``, of maps, except of methods that compute in a precision of
            their own (lrp, attnlrp). Both is said.
        seed: of what ``limit`` draws, of a random order, of the noise and the weights that tests draw, and of the
            bootstrap; the control ``random`` has its own.
        workers: threads that read photographs ahead; on a cluster, tasks at a time on it (0: as many as
            it has room for).
        device: such as "cuda" or "auto"; None for where the model is. The workers of a cluster take the GPU
            that they are given, or else the CPU.
        cluster: None for this process alone; "local", "auto" or "ray://HOST:PORT" for Ray.
        store_every: after how many seconds rows are stored: what a kill loses at most.
        gallery: whether small pictures are stored for the report's gallery, about 5 kB per image and task.
        verify: read the photographs that are measured already again, and refuse to go on if one has changed. That
            annotations or the sizes of files have changed is always noticed.
        allow_version_change: go on with a run that was begun with another version of vitcam, torch, timm or
            transformers, and say so, instead of refusing.
        budget: how long this command may take: "2h", "90m", "45s", "1h30m", or seconds. Each task gets an equal
            share. The batch that is begun when time is up is finished, and each task does at least one; the same
            command goes on from there.
        target_width: how wide the bootstrap 95 % interval of a mean may be at most, for all means of the table that
            ``vitcam evaluate`` prints: when none is wider, the task ends. Runs that may end early measure images in a
            random order, so that those measured are an unbiased sample.
        data_options: what the dataset's reader can be told, such as ``{"multi_label": True}``.
        progress: is called after every batch; True for a progress bar per task, in a notebook or on stderr.
        tell: is called with sentences for people: what was left out, what is gone on with.

    Returns:
        What ``summary.json`` holds: by task and method, counts, means, and their intervals. Where the order is
        random, also of how many images (``planned``), and what ended the task before all were measured
        (``stopped``: "budget", "target width" or None).

    Raises:
        RunError: a setting makes no sense; the folder holds another run, or another process works in it; it
            can't be written (a full disk loses nothing); photographs or annotations have changed since the run
            began; memory has run out; a run that wasn't begun in a random order is to end early.
        DatasetError, ModelError, MethodError: as from ``open_dataset``, ``load_model`` and ``compare``.

    Example:
        >>> summary = evaluate("localization", "folder:things", "embedded:photo", ["agcam"], "new-run", limit=3)
        >>> list(summary["localization"])
        ['agcam', 'random', 'center']
        >>> list(summary["localization"]["agcam"])
        ['images', 'skipped_wrong', 'unreadable', 'unmatched', 'pixel_accuracy', 'iou', ...]
    """
    protocol = protocol or usual_protocol(task)
    settings = RunSettings(
        task,
        protocol,
        with_controls(methods, protocol),
        threshold,
        steps,
        limit,
        batch_size,
        precision,
        seed,
        tuple(tests),
    )
    limits = Limits.of(budget, target_width)
    shares = Shares(limits, len(settings.tasks))
    check_local(output, "a run's folder", RunError)
    if isinstance(data, str):
        check_local(path_of(data), "a dataset", DatasetError)
    if cluster is not None:  # before anything is loaded or written
        from vitcam.evaluation.cluster import find_ray

        find_ray()
        data = from_anywhere(data)
    dataset, loaded = opened(data, data_options or {}, model, settings.tasks, protocol)
    settings, left_out = settings.along(len(loaded.preprocessing.kind.axes))
    match = match_classes(dataset.classes, loaded.class_names, loaded.wordnet_ids, logits_of_model(loaded))
    folder = RunFolder(Path(output))
    seen = fitted(dataset, loaded, match, precision, folder)
    dataset, loaded = seen.dataset, seen.model
    plan = make_plan(dataset, match, limit, seed, settings.tasks)
    if "localization" in settings.tasks:
        plan.check_located(dataset)
    _tell_beginning(tell, dataset, match, plan)
    for sentence in (*left_out, *settings.in_fp32):
        tell(sentence)
    folder.create()
    seen.keep(folder)
    if shuffled := is_shuffled(folder, limits):
        plan = plan.shuffled(seed)
    described = describe_run(
        settings, dataset, loaded, match, plan, data if isinstance(data, str) else str(dataset.root)
    )
    job = RunJob(settings, dataset, loaded, match.model_indices, plan.masks, gallery)
    here = device if cluster is None else None
    with terminable(), locked(folder.lock, tell) as lock, on_device(loaded.module, here):
        _begin(folder, described, dataset, plan, allow_version_change, tell)
        if verify:
            verify_photographs(folder, dataset, plan, job.photographs(settings.tasks[0]), tell)
        begun, measured = time.perf_counter(), False
        stops: dict[Task, dict[str, Any]] = {}
        for each in settings.tasks:
            store = Storing(folder, job, each, store_every, lock.check)
            worked, stops[each] = run_task(
                store, plan, limits, shares.next(), cluster, workers, progress, tell
            )
            measured = measured or worked
        rows = folder.stored_rows
        check_rows(folder, rows)
        summary = summarize(rows, settings.tasks, settings.methods, plan.unmatched, seed)
        if shuffled:
            for each in settings.tasks:
                for numbers in summary[each].values():
                    numbers |= stops[each]
        folder.write_summary(summary)
        # a cluster's machines aren't this one
        if (
            measured
            and cluster is None
            and (costs := measure_costs(job, plan, rows, time.perf_counter() - begun))
        ):
            write_costs(folder.path, costs)
    for each in settings.tasks:
        numbers = next(iter(summary[each].values()))
        if numbers["images"]:
            for sentence in not_measured(settings.tests_of(each), numbers):
                tell(sentence)
        for sentence in unmoved_of(each, summary[each]):
            tell(sentence)
    wrong = problems(rows)
    for sentence in wrong:
        tell(sentence)
    if wrong:
        tell(f"Once these {dataset.holds} can be read, the same command measures them too")
    return summary


def _begin(
    folder: RunFolder,
    described: Mapping[str, Any],
    dataset: Dataset,
    plan: Plan,
    allow_version_change: bool,
    tell: Callable[[str], None],
) -> None:
    """Begins the run, or makes sure that this goes on with it."""

    def check(stored: Mapping[str, Any]) -> list[str]:
        notes = check_same(stored, described, str(folder.path), allow_version_change)
        return [*notes, *check_sources(folder, dataset, plan)]

    if not (folder.path / "run.json").exists() and not folder.rows.paths():
        for left in folder.sources.paths():  # of a start that was killed before there were settings
            left.unlink()
        keep_sources(folder, dataset, plan)
    for sentence in folder.begin(described, check):
        tell(sentence)


def _tell_beginning(tell: Callable[[str], None], dataset: Dataset, match: ClassMatch, plan: Plan) -> None:
    for sentence in (*dataset.notes, match.sentence):
        tell(sentence)
    if plan.unmatched:
        pairs = zip(dataset.classes, match.model_indices, strict=True)
        unknown = [item.name.split(",")[0] for item, index in pairs if index is None]
        such = ", ".join(map(repr, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        tell(
            f"{dataset.holds.capitalize()} left out because the model doesn't know their classes ({such}): "
            f"{plan.unmatched}"
        )

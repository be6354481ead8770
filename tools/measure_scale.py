"""Measures what a run of very many photographs costs besides the model: time and memory, on made-up rows.

    python tools/measure_scale.py --images 1300000 --protocol paper --folder /tmp/scale

Every step runs in a process of its own, whose memory is then its own: what it has allocated at most (anonymous
pages), and what is resident at most, which counts the pages of files that are mapped too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from vitcam.evaluation.measure import ALL, Shape, Task
from vitcam.evaluation.protocol import Protocol
from vitcam.evaluation.rows import COLUMNS
from vitcam.evaluation.store import RunFolder

METHODS = [f"method{i:02d}" for i in range(8)] + ["agcam", "center", "random"]
CLASSES = 1000
PIXEL_POINTS = 101
POINTS = {"localization": {"paper": 11, "vitcam": 20}, "perturbation": {"paper": 11, "vitcam": 11}}
AT_ONCE = 2000
"""Photographs in each file that the run is made of."""

FEW = 8
"""Photographs in each file of the step ``append``."""

APPENDS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--protocol", choices=["paper", "vitcam"], default="paper")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--step", choices=list(STEPS))
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measured(lambda: STEPS[given.step](given.folder, given.images, given.protocol))))
        return
    shutil.rmtree(given.folder / "run", ignore_errors=True)
    make_photographs(given.folder / "data", given.images)
    print(f"{given.images:,} photographs, {len(METHODS)} methods, both tasks, {given.protocol} protocol")
    print("| step | seconds | allocated | resident | what |\n|---|--:|--:|--:|---|")
    for step in STEPS:
        found = subprocess.run(
            [sys.executable, *sys.argv, "--step", step], stdout=subprocess.PIPE, check=True
        )
        it = json.loads(found.stdout.splitlines()[-1])
        print(
            f"| {step} | {it['seconds']:.1f} | {it['allocated']:.2f} GB | {it['resident']:.2f} GB | {it['what']} |"
        )
        sys.stdout.flush()
    print(f"On disk: {sum(file.stat().st_size for file in (given.folder / 'run').rglob('*')) / 1e9:.1f} GB")


def measured(step: Callable[[], str]) -> dict[str, object]:
    """What a step costs."""
    allocated, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            status = Path("/proc/self/status").read_text()
            allocated[0] = max(allocated[0], int(status.split("RssAnon:")[1].split()[0]))

    threading.Thread(target=watch, daemon=True).start()
    started = time.perf_counter()
    what = step()
    seconds = time.perf_counter() - started
    done.set()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "allocated": allocated[0] / 1e6, "resident": resident / 1e6, "what": what}


def scan(folder: Path, images: int, protocol: Protocol) -> str:
    """Opens a dataset and plans a run over all of it; empty files stand for the photographs."""
    from vitcam.evaluation import open_dataset
    from vitcam.evaluation.datasets import ClassMatch
    from vitcam.evaluation.plan import make_plan

    dataset = open_dataset(f"folder:{folder / 'data'}")
    plan = make_plan(dataset, ClassMatch(tuple(range(CLASSES)), ""), None, 0)
    return f"{len(plan.indices):,} photographs planned"


def write(folder: Path, images: int, protocol: Protocol) -> str:
    """Writes the rows of the whole run."""
    run = RunFolder(folder / "run")
    run.create()
    (run.path / "run.json").write_text(
        json.dumps({"format": 1, "task": "all", "methods": METHODS, "images": images})
    )
    files = 0
    for task in ALL:
        for start in range(0, images, AT_ONCE):
            run.append(made_up(task, range(start, min(start + AT_ONCE, images)), protocol))
            files += 1
    return f"{files} files of {AT_ONCE} photographs"


def append(folder: Path, images: int, protocol: Protocol) -> str:
    """Adds many small files to it, as a run does that stores every few seconds; put together now and then."""
    run = RunFolder(folder / "run")
    rows = made_up("localization", range(FEW), protocol)
    seconds = []
    for i in range(APPENDS):
        renamed = rows.with_columns(pl.col("image") + f"-{i}")
        started = time.perf_counter()
        run.append(renamed)
        seconds.append(time.perf_counter() - started)
    first, last = (1e3 * float(np.median(some)) for some in (seconds[1:201], seconds[-200:]))
    return (
        f"{APPENDS} files of {FEW} photographs: {first:.1f} ms each of the first 200, {last:.1f} ms of the last "
        f"(medians); {len(run.rows.paths())} files now"
    )


def resume(folder: Path, images: int, protocol: Protocol) -> str:
    """Verifies all digests, and looks what is stored."""
    run = RunFolder(folder / "run")
    started = time.perf_counter()
    rows = run.stored_rows
    verified = time.perf_counter() - started
    done = {task: len(set(rows.of(task).filter("scored")["image"])) for task in ALL}
    return f"{done} done; {verified:.1f} of the seconds verified digests"


def summary(folder: Path, images: int, protocol: Protocol) -> str:
    """Makes ``summary.json``."""
    from vitcam.evaluation.summary import summarize

    run = RunFolder(folder / "run")
    found = summarize(run.stored_rows, ALL, METHODS, 0, 0)
    run.write_summary(found)
    counted = found["localization"]["agcam"]
    return f"{counted['images']:,} scored, {counted['skipped_wrong']:,} predicted wrong"


def report(folder: Path, images: int, protocol: Protocol) -> str:
    """Makes the tables and the page."""
    from vitcam.report import read_runs, report_page, score_tables

    runs = read_runs([folder / "run"])
    tables = score_tables(runs)
    started = time.perf_counter()
    page = report_page(runs, tables)
    seconds = time.perf_counter() - started
    return f"{len(tables)} tables; a page of {len(page) / 1e6:.1f} MB in {seconds:.1f} of the seconds"


STEPS = {each.__name__: each for each in (scan, write, append, resume, summary, report)}


def make_photographs(folder: Path, images: int) -> None:
    """Empty files in folders of classes; those that are there already will do."""
    for label in range(CLASSES):
        (folder / class_name(label)).mkdir(parents=True, exist_ok=True)
    for i in range(images):
        os.close(os.open(folder / image_name(i), os.O_CREAT))


def class_name(label: int) -> str:
    return f"class{label:04d}"


def image_name(i: int) -> str:
    return f"{class_name(i * CLASSES // 1_300_000 % CLASSES)}/photograph_{i:08d}.jpg"


def columns_of(task: Task, protocol: Protocol) -> dict[str, Shape]:
    """The columns of a task's rows."""
    from vitcam.evaluation.settings import RunSettings

    settings = RunSettings("all", protocol, tuple(METHODS), 0.5, 10, None, 8, "fp32", 0)
    return settings.columns(task, masks=True)


def made_up(task: Task, images: range, protocol: Protocol) -> pl.DataFrame:
    """Rows with random numbers, which are float32's as a model's are: the same ones for every file, to be quick."""
    known = pl.DataFrame(
        {
            "image": [image_name(i) for i in images],
            "label": [i * CLASSES // 1_300_000 % CLASSES for i in images],
            "annotation": [f"{i:016x}" for i in images],
        }
    )
    of_image = pl.Series(np.repeat(np.arange(len(images), dtype=np.uint32), len(METHODS)))
    known = known.with_columns(target="label", photograph="annotation")[of_image]
    numbers = numbers_of(task, protocol)[: known.height]
    together = pl.concat([known, numbers], how="horizontal")
    together = together.with_columns(
        task=pl.lit(task),
        class_name=pl.col("image").str.slice(0, 9),
        predicted=pl.when("correct").then("label").otherwise(pl.col("label") + 1),
        error=pl.lit(None, pl.String()),
    )
    return together.select(*COLUMNS, *columns_of(task, protocol)).cast(dict(COLUMNS))


@cache
def numbers_of(task: Task, protocol: Protocol) -> pl.DataFrame:
    """The columns of ``AT_ONCE`` photographs that don't say which they are."""
    random = np.random.default_rng(ALL.index(task))
    count = AT_ONCE * len(METHODS)
    columns = {}
    for name, shape in columns_of(task, protocol).items():
        points = PIXEL_POINTS if name.startswith("pixel_") else POINTS[task][protocol]
        values = random.random((count, points) if shape == "curve" else count, dtype=np.float32).astype(
            np.float64
        )
        if shape == "curve":
            columns[name] = pl.Series(values, dtype=pl.Array(pl.Float64, points)).arr.to_list()
        else:
            columns[name] = pl.Series(values)
    correct = np.repeat(random.random(AT_ONCE) < 0.8, len(METHODS))
    table = pl.DataFrame({"method": METHODS * AT_ONCE, "correct": correct, **columns})
    if task == "localization":
        table = table.with_columns(pl.when("correct").then(pl.col(name)).alias(name) for name in columns)
    return table


if __name__ == "__main__":
    main()

"""``vitcam explain`` on a folder of photographs against the bare forward pass."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from vitcam.bench.limits import Limit
from vitcam.bench.measuring import Bench, rows_of
from vitcam.bench.parts.generated import copy_photographs
from vitcam.bench.parts.methods import FORWARD, forward_entries
from vitcam.bench.results import Group
from vitcam.bench.statistics import differences, spread
from vitcam.bench.timing import FEW, Entry, Outcome, interleave
from vitcam.errors import BenchError

BATCHES = 16
"""Of how many batches the photographs are."""
BESIDE_FORWARD = 0.9
"""The share of the images/s of the fastest bare forward pass that must be reached."""


def folder(bench: Bench) -> Iterator[Group]:
    """The command as people run it, in a process of its own, on one batch and on many: the rest is the rate.

    Its start (Python, torch, the model's weights) is in both times, and so in the difference no more.
    """
    batch = max(bench.settings.batches)
    few, many = f"vitcam explain, {batch}", f"vitcam explain, {batch * (1 + BATCHES)}"
    title = f"A folder of photographs, batch {batch}, {bench.settings.precision}"
    images = bench.subject.images(batch)
    photographs = batch * BATCHES
    forwards = [
        replace(entry, run=partial(_often, entry.run), images=photographs)
        for entry in forward_entries(bench, images)
    ]

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        spec = _spec(bench, root)
        copy_photographs(root / "few", batch)
        copy_photographs(root / "many", batch + photographs)
        entries = [
            *forwards,
            Entry(few, _command(bench, spec, root / "few", batch), batch),
            Entry(many, _command(bench, spec, root / "many", batch), batch + photographs),
        ]
        rounds = min(FEW, bench.settings.repeats)
        outcomes = interleave(entries, rounds, synchronize=bench.synchronize, tell=bench.tell)
    rate = Entry(
        "vitcam explain, without its start",
        forwards[0].run,
        photographs,
        FORWARD,
        (Limit("speed", BESIDE_FORWARD, at_least=True),),
        note=f"the time of {many} less that of {few}; it decodes, explains, draws panels and writes maps",
    )
    problem = outcomes[few].problem or outcomes[many].problem
    seconds = differences(outcomes[many].seconds, outcomes[few].seconds)
    if not problem and spread(seconds).median <= 0:
        problem = f"the machine was so busy that {many} wasn't slower than {few}"
    outcomes[rate.name] = Outcome(problem=problem) if problem else Outcome(seconds)
    yield Group("folder", title, rows_of([*entries, rate], outcomes))


def _often(run: Callable[[], object]) -> None:
    for _ in range(BATCHES):
        run()


def _spec(bench: Bench, root: Path) -> str:
    """The model for another process: where its weights are random, they are in a file."""
    spec = bench.settings.model
    scheme = spec.partition(":")[0]
    if "@" in spec or scheme not in ("timm", "torchvision"):
        return spec
    weights = root / "weights.pth"
    torch.save(bench.subject.module.state_dict(), weights)
    return f"{spec}@{weights}"


def _command(bench: Bench, spec: str, photographs: Path, batch: int) -> Callable[[], object]:
    settings = bench.settings
    options = {
        "--model": spec,
        "--batch-size": str(batch),
        "--precision": settings.precision,
        "--output": f"{photographs}-output",
        **({} if settings.device is None else {"--device": settings.device}),
    }
    command = [sys.executable, "-m", "vitcam", "explain", str(photographs)]
    command += [word for option in options.items() for word in option]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}

    def run() -> object:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise BenchError(f"vitcam explain failed: {done.stderr.strip()[-300:]}")
        return done

    return run

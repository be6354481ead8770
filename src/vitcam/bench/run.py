"""Runs a benchmark, group by group."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from vitcam.bench.machine import this_machine
from vitcam.bench.measuring import Bench, Tell
from vitcam.bench.parts.comparing import comparing
from vitcam.bench.parts.evaluation import evaluation
from vitcam.bench.parts.folder import folder
from vitcam.bench.parts.methods import ALL, BRIEF, methods
from vitcam.bench.parts.peers import peers
from vitcam.bench.parts.scaling import scaling
from vitcam.bench.parts.start import start
from vitcam.bench.results import Group
from vitcam.bench.settings import Settings
from vitcam.methods import find_method
from vitcam.models.device import find_device

_PARTS: Mapping[str, Callable[[Bench], Iterator[Group]]] = {
    "methods": methods,
    "compare": comparing,
    "peers": peers,
    "scaling": scaling,
    "evaluation": evaluation,
    "folder": folder,
    "start": start,
}


def run_bench(settings: Settings, tell: Tell = lambda sentence: None) -> Iterator[Group]:
    """Runs a benchmark; gives each group as soon as it is measured.

    An entry that fails is a row that says why. Ctrl-C ends it with the group that is being measured, by the rounds
    that are complete, and is raised again. While a group is being measured, torch computes with
    ``settings.threads`` threads; in between and afterwards with as many as before.

    Args:
        settings: what is asked for.
        tell: is told how far it is.

    Raises:
        ModelError: there is no such model or device, or the model can't be explained.
        MethodError: there is no such method.

    Example:
        >>> few = Settings("embedded:photo", batches=(1,), methods=("center",), repeats=1, parts=("methods",))
        >>> [row.name for group in run_bench(few) for row in group.rows][0]
        'forward'
    """
    for name in settings.methods:
        if name not in (ALL, BRIEF):
            find_method(name)
    device = find_device("cpu" if settings.device is None else settings.device)
    bench = Bench(settings, this_machine(device, settings.threads), tell)
    for part in dict.fromkeys(settings.parts):
        groups = _PARTS[part](bench)
        while True:
            with _threads(settings.threads):
                group = next(groups, None)
            if group is None:
                break
            if bench.interrupted:
                yield replace(group, notes=(*group.notes, bench.interrupted))
                raise KeyboardInterrupt
            yield group


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The two protocols: the paper's, to the pixel, and vitcam's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from vitcam.errors import RunError
from vitcam.evaluation.measure import PROTOCOLS, Protocol, Task, tasks_of
from vitcam.evaluation.measures import MEASURES, measures_of
from vitcam.models import Preprocessing
from vitcam.models.adopted import Adopted


def tests_in(protocol: Protocol, task: Task) -> tuple[str, ...]:
    """What a protocol measures in a task: names of measures."""
    return tuple(each.name for each in measures_of(task) if protocol in each.protocols)


def usual_protocol(task: Task | Literal["all"]) -> Protocol:
    """The protocol of a task where none was asked for: the paper's, or vitcam's own where the paper has no tests.

    Example:
        >>> usual_protocol("all"), usual_protocol("sanity")
        ('paper', 'vitcam')
    """
    return "paper" if any(tests_in("paper", each) for each in tasks_of(task)) else "vitcam"


def protocol_tests(
    protocol: Protocol, tasks: Sequence[Task], asked: Sequence[str]
) -> dict[Task, tuple[str, ...]]:
    """The tests of each task.

    Args:
        protocol: whose.
        tasks: that are evaluated.
        asked: names of tests; none for all of the protocol.

    Raises:
        RunError: there is no such test in these tasks of the protocol, or none for one of the tasks.

    Example:
        >>> protocol_tests("vitcam", ["perturbation"], ["saco", "road"])
        {'perturbation': ('road', 'saco')}
    """
    for name in asked:
        if MEASURES.can_find(name):
            MEASURES.find(name)
    present = {task: tests_in(protocol, task) for task in tasks}
    if not asked:
        for task in tasks:
            if not present[task]:
                others = [name for name in PROTOCOLS if tests_in(name, task)]
                raise RunError(
                    f"the {protocol} protocol has no tests of the {task} task: --protocol {others[0]} has them"
                )
        return present
    for task in tasks:  # what is in no protocol can be asked for in any
        present[task] += tuple(
            each.name
            for each in measures_of(task)
            if each.name in asked
            and each.name not in present[task]
            and (each.in_any_protocol or not each.protocols)
        )
    unknown = [name for name in asked if not any(name in names for names in present.values())]
    if unknown:
        listed = "; ".join(f"{task}: {', '.join(names)}" for task, names in present.items())
        others = [
            name
            for name in PROTOCOLS
            if all(any(test in tests_in(name, task) for task in tasks) for test in unknown)
        ]
        hint = f"; --protocol {others[0]} has it" if others else ""
        raise RunError(
            f"the {protocol} protocol has no test {', '.join(map(repr, unknown))}{hint}. Its tests are {listed}"
        )
    chosen = {task: tuple(name for name in names if name in asked) for task, names in present.items()}
    without = [task for task, names in chosen.items() if not names]
    if without:
        raise RunError(
            f"none of the tests {', '.join(asked)} is of the {without[0]} task: choose one of "
            f"{', '.join(present[without[0]])} too, or evaluate the other task alone"
        )
    return chosen


def not_measured(tests: Sequence[str], numbers: Mapping[str, object]) -> list[str]:
    """Why tests that were to be run have no numbers, in a sentence each.

    Args:
        tests: that were to be run.
        numbers: of a method, as in the summary.

    Example:
        >>> not_measured(["pointing", "mask"], {"pointing": 0.8})
        ['Not measured: mask, since none of these photographs has a mask']
    """
    return [
        f"Not measured: {test}, since {MEASURES[test].absent}"
        for test in tests
        if not any(number.key in numbers for number in MEASURES[test].numbers)
    ]


def protocol_preprocessing(protocol: Protocol, own: Adopted) -> Adopted:
    """How a protocol prepares photographs for a model.

    ``vitcam`` does what the model's vendor does. ``paper`` (arXiv 2402.04563) resizes to the model's input
    whatever the photograph's shape, bilinearly, with nothing cropped. Size, mean and standard deviation stay
    the model's own: for the paper's model they are 224×224 and 0.5, so that for it this is
    ``Preprocessing.paper()``, and another model isn't shown images unlike those that it was trained on. Of other
    inputs than photographs it says nothing: they are prepared as the model's own.

    Example:
        >>> protocol_preprocessing("paper", photo_model.preprocessing)
        Preprocessing(size=(168, 168), mean=..., std=..., interpolation='bilinear', resize_mode='squash', ...)
    """
    if protocol == "vitcam" or not isinstance(own, Preprocessing):
        return own
    return replace(own, resize_mode="squash", resize=None, interpolation="bilinear", arithmetic="pil")


def protocol_thresholds(protocol: Protocol, threshold: float) -> tuple[float, ...]:
    """The thresholds at which boxes are compared, ascending, with ``threshold`` itself among them.

    Steps of 0.05 for ``vitcam``, which reports the sweep; of 0.1 for ``paper``.
    """
    steps = {"paper": 10, "vitcam": 20}[protocol]
    return tuple(sorted({step / steps for step in range(steps)} | {threshold}))

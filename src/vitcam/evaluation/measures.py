"""The measures, each declared once: the command line, runs, reports and the documentation read it here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.faithfulness_measures import FAITHFULNESS
from vitcam.evaluation.localization_measures import LOCALIZATION
from vitcam.evaluation.measure import TASKS, Measure, Task
from vitcam.evaluation.perturbation_measures import PERTURBATION
from vitcam.evaluation.quantus_measures import FAMILY, quantus_measure
from vitcam.evaluation.sanity_measures import SANITY
from vitcam.registry import Registry, is_reference


def _as_measure(name: str, measure: Any) -> Measure:
    if not isinstance(measure, Measure) or measure.task not in TASKS:
        what = (
            f"of the task {measure.task!r}" if isinstance(measure, Measure) else f"a {type(measure).__name__}"
        )
        tasks = " or ".join(TASKS)
        raise RunError(
            f"the measure {name} is {what}: expected a vitcam.evaluation.measure.Measure of the task {tasks}"
        )
    numbers = set(measure.numbers)
    for other in MEASURES.values():
        shared = {*measure.columns} & {*other.columns} if other.name != name else set()
        if shared and not numbers <= set(other.numbers):
            raise RunError(
                f"the measure {name} has a column {min(shared)!r}, as {other.name} has: name it otherwise"
            )
    if measure.name == name:
        return measure
    return replace(measure, name=name, protocols=() if is_reference(name) else measure.protocols)


MEASURES: Registry[Measure] = Registry(
    "measure",
    "vitcam.measures",
    {measure.name: measure for measure in (*LOCALIZATION, *PERTURBATION, *FAITHFULNESS, *SANITY)},
    _as_measure,
    RunError,
    {FAMILY: quantus_measure},
)
"""By name: vitcam's, those of installed packages (entry points ``vitcam.measures``), and what is added; besides,
``quantus:NAME``.

Of each task, what stands first matters most.
"""


def measures_of(task: Task) -> list[Measure]:
    """The measures of a task."""
    return [measure for measure in MEASURES.values() if measure.task == task]

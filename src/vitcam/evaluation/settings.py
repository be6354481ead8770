"""The settings of a run, as its ``run.json`` keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vitcam.errors import MethodError, RunError
from vitcam.evaluation.measure import CONTROLS, PROTOCOLS, TASKS, Measure, Protocol, Shape, Task, tasks_of
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.protocol import protocol_tests, protocol_thresholds
from vitcam.evaluation.rows import ORACLE
from vitcam.methods import canonical_name, find_method
from vitcam.methods.gradient_rules import own_precision
from vitcam.recording import Precision

RANDOM = "random"
"""The order in which runs measure that may stop early; others keep the dataset's, and don't note it."""

# What isn't compared between the command that began a run and the one that goes on with it: the same photographs
# may lie elsewhere, the machine isn't a setting, and the last two follow from settings that are compared.
_NOT_COMPARED = frozenset({"data", "environment", "thresholds", "fractions"})

# What is compared otherwise, each in a way of its own.
_APART = frozenset({"versions", "batch_size", "dataset.contents"})


@dataclass(frozen=True)
class RunSettings:
    """What decides a run's numbers, besides the dataset and the model.

    Attributes:
        task: what is evaluated.
        protocol: "paper" or "vitcam".
        methods: canonical names, the controls among them.
        threshold: above which a heatmap's pixels count.
        steps: of the perturbation curves.
        limit: how many photographs; None for all.
        batch_size: photographs that go through the model at once.
        precision: of the forward passes.
        seed: of what ``limit`` draws, of the noise and the weights that tests draw, and of the bootstrap.
        tests: names of the tests to be run; () for all of the protocol.
    """

    task: Task | Literal["all"]
    protocol: Protocol
    methods: tuple[str, ...]
    threshold: float
    steps: int
    limit: int | None
    batch_size: int
    precision: Precision
    seed: int
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("task", self.task in (*TASKS, "all"), f"one of {', '.join(TASKS)}, all", self.task)
        _check("protocol", self.protocol in PROTOCOLS, " or ".join(PROTOCOLS), self.protocol)
        _check("threshold", 0 <= self.threshold < 1, "a fraction from 0 to below 1", self.threshold)
        _check("steps", self.steps >= 2, "2 or more", self.steps)
        _check("limit", self.limit is None or self.limit > 0, "1 or more", self.limit)
        _check("batch_size", self.batch_size > 0, "1 or more", self.batch_size)
        _check("precision", self.precision in ("fp32", "bf16", "fp16"), "fp32, bf16 or fp16", self.precision)
        _check("seed", self.seed >= 0, "0 or more", self.seed)
        protocol_tests(self.protocol, self.tasks, self.tests)

    @property
    def explained_by(self) -> tuple[str, ...]:
        """The methods that explain; the control ``oracle`` only knows the truth."""
        return tuple(name for name in self.methods if name != ORACLE)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tasks_of(self.task)

    def tests_of(self, task: Task) -> tuple[str, ...]:
        return protocol_tests(self.protocol, self.tasks, self.tests)[task]

    def along(self, axes: int) -> tuple[RunSettings, list[str]]:
        """The same with the tests that are defined for inputs of so many axes, and a sentence about the others.

        Args:
            axes: besides batch and channels: two of pictures and spectrograms, three of clips and volumes.

        Raises:
            RunError: a test that was asked for isn't defined for them, or none is.
        """
        every = [name for task in self.tasks for name in self.tests_of(task)]
        defined = [name for name in every if axes in MEASURES[name].axes]
        if len(defined) == len(every):
            return self, []
        others = ", ".join(name for name in every if name not in defined)
        if self.tests or not defined:
            there = [name for name in MEASURES.ours if MEASURES[name].task in self.tasks]
            raise RunError(
                f"not defined for inputs of {axes} axes besides their channels: {others}. Those that are, by --test: "
                f"{', '.join(name for name in there if axes in MEASURES[name].axes)}"
            )
        return replace(self, tests=tuple(defined)), [
            f"Left out, not being defined for inputs of {axes} axes besides their channels: {others}"
        ]

    def measures_of(self, task: Task) -> list[Measure]:
        return [MEASURES[name] for name in self.tests_of(task)]

    def columns(self, task: Task, masks: bool) -> dict[str, Shape]:
        """The numbers of a task's rows.

        Args:
            task: whose.
            masks: whether the dataset has masks to compare with.
        """
        return {
            key: shape
            for measure in self.measures_of(task)
            if masks or not measure.needs_masks
            for key, shape in measure.columns_in(self.protocol).items()
        }

    @property
    def in_fp32(self) -> list[str]:
        """What is computed in fp32 where another precision is asked for, a sentence for each task."""
        sentences = []
        own = in_full_precision(self.explained_by, self.precision)
        if own and self.tasks != ("perturbation",):
            names = ", ".join(own)
            sentences.append(f"Computed in their own precision instead of {self.precision}: {names}")
        if "perturbation" in self.tasks and self.precision != "fp32":
            sentences.append(f"Perturbed images are run in {self.precision}; their maps are computed in fp32")
        return sentences

    @property
    def thresholds(self) -> tuple[float, ...]:
        return protocol_thresholds(self.protocol, self.threshold)

    @property
    def fractions(self) -> tuple[float, ...]:
        """How much of an image is removed at each point of the paper's perturbation curves."""
        return tuple(step / self.steps for step in range(self.steps + 1))


def in_full_precision(methods: Sequence[str], precision: Precision) -> tuple[str, ...]:
    """The methods that compute in a precision of their own, where the others compute in a lower one.

    Example:
        >>> in_full_precision(["agcam", "lrp"], "bf16")
        ('lrp',)
    """
    if precision == "fp32":
        return ()
    return tuple(name for name in methods if own_precision(*find_method(name)))


def with_controls(methods: Sequence[str], protocol: Protocol = "paper") -> tuple[str, ...]:
    """The canonical names of methods, each once, with the controls at the end.

    ``oracle`` is among these where it is asked for, and always in vitcam's protocol.

    Raises:
        MethodError: there is no such method or option, or none was given.
    """
    if isinstance(methods, str) or not methods:
        raise MethodError(
            f"methods must be a list of method names, such as ['agcam', 'rollout']; got {methods!r}"
        )
    asked = [name for name in methods if name != ORACLE]
    names = [canonical_name(*find_method(name)) for name in (*asked, *CONTROLS) if name != ORACLE]
    oracle = [ORACLE] if len(asked) < len(methods) or protocol == "vitcam" else []
    return tuple(dict.fromkeys([*names, *oracle]))


def check_same(
    stored: Mapping[str, Any], asked: Mapping[str, Any], where: str, allow_version_change: bool = False
) -> list[str]:
    """Refuses to go on with a run under other settings, or with other versions of what computes its numbers.

    Args:
        stored: what ``run.json`` holds.
        asked: what this command would have written there.
        where: the run's folder, for the message.
        allow_version_change: say that versions differ, instead of refusing.

    Returns:
        What differs and shows in the last digits at most, unless it was allowed: sentences for people.

    Raises:
        RunError: naming every setting that differs, or the versions.
    """
    before, now = _flat(stored), _flat(asked)
    names = [
        name
        for name in dict.fromkeys((*before, *now))
        if name.split(".")[0] not in _NOT_COMPARED | _APART and name not in _APART
    ]
    differing = [name for name in names if before.get(name) != now.get(name)]
    if differing:
        lines = [
            f"  {name}: {_shown(before, name)} in the run, {_shown(now, name)} now" for name in differing
        ]
        raise RunError(
            f"{where} holds a run with other settings:\n"
            + "\n".join(lines)
            + "\nGive the same ones to go on with it, or another output folder for a new run"
        )
    return [
        *_version_notes(stored, asked, where, allow_version_change),
        *_batch_notes(stored, asked),
        *_thread_notes(stored, asked),
    ]


def _version_notes(
    stored: Mapping[str, Any], asked: Mapping[str, Any], where: str, allowed: bool
) -> list[str]:
    # vitcam's first runs note timm's version beside the machine, and transformers' nowhere
    environment = {name: value for name, value in _of(stored, "environment").items() if name == "timm"}
    before = {**environment, **_of(stored, "versions")}
    now = _of(asked, "versions")
    differing = [
        f"{name} {before[name] or 'missing'} in the run, {now[name] or 'missing'} now"
        for name in now
        if name in before and before[name] != now[name]
    ]
    if differing and not allowed:
        raise RunError(
            f"{where} was begun with other versions, which may give other numbers: {'; '.join(differing)}. Install "
            "those again, give another output folder for a new run, or go on all the same with "
            "--allow-version-change (allow_version_change=True)"
        )
    if differing:
        return [f"The run goes on with other versions, which may give other numbers: {'; '.join(differing)}"]
    return []


def _batch_notes(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    before, now = stored.get("batch_size"), asked.get("batch_size")
    if before in (None, now):
        return []
    return [
        f"The run was begun with batches of {before} and goes on with {now}, on which the last digits of what is "
        "computed depend"
    ]


def _of(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else {}


def _thread_notes(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs between the machine that began a run and this one so that it shows in the numbers."""
    before, now = (_of(settings, "environment").get("threads") for settings in (stored, asked))
    if before in (None, now):
        return []
    return [
        f"The run was begun on {before} threads and goes on with {now}, on which the last digits of what is computed "
        f"depend: OMP_NUM_THREADS={before} gives the same ones"
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _shown(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return "nothing"
    value = settings[name]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _check(name: str, holds: bool, expected: str, value: object) -> None:
    if not holds:
        raise RunError(f"{name} must be {expected}; got {value}")

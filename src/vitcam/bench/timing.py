"""Times many things in one run, in turns, so that whatever disturbs the machine disturbs all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vitcam.bench.limits import Limit
from vitcam.errors import VitcamError

SLOW = 10
"""How many times as slow as its reference an entry must be to run in ``FEW`` rounds only."""
FEW = 3
ENDLESS = 50
"""How many times as slow as its reference an entry must be for its warm-up to be its only sample."""
IMPORTING = 10.0
"""Seconds: a warm-up that is shorter never is, since importing a library may be most of it."""


@dataclass(frozen=True)
class Entry:
    """Something whose time is measured.

    Attributes:
        name: unique among those that are measured together.
        run: does it once.
        images: how many images it does it for.
        reference: the entry that its time is divided by.
        limits: what it must reach.
        values: what else is measured of it, once, after its time.
        note: for people, what one should know to read its numbers.
        same_as: the entry whose result it gives in another way, so that the faster of the two is the honest measure
            of what others cost.
    """

    name: str
    run: Callable[[], object]
    images: int = 1
    reference: str | None = None
    limits: tuple[Limit, ...] = ()
    values: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    note: str = ""
    same_as: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an entry.

    Attributes:
        seconds: one time per round, from the first round on.
        problem: why it failed; None if it didn't.
    """

    seconds: tuple[float, ...] = ()
    problem: str | None = None


class Interrupted(KeyboardInterrupt):
    """Somebody had enough of it, at least one round after it began.

    Attributes:
        outcomes: of the rounds that were completed.
        rounds: how many.
    """

    def __init__(self, outcomes: Mapping[str, Outcome], rounds: int) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.rounds = rounds


def interleave(
    entries: Sequence[Entry],
    rounds: int,
    *,
    synchronize: Callable[[], object] = lambda: None,
    tell: Callable[[str], None] = lambda sentence: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Outcome]:
    """Runs every entry once in each round; before that, once to warm up.

    In each round the order is another, so that none always runs in the wake of the same neighbour. Slow entries
    run in the first rounds only: see ``SLOW``, ``FEW`` and ``ENDLESS``. An entry that raises is left out from
    then on.

    Args:
        entries: what is timed.
        rounds: how often.
        synchronize: waits for the device.
        tell: is told how far it is.
        clock: gives seconds.

    Raises:
        Interrupted: by Ctrl-C, once a round is complete.

    Example:
        >>> interleave([Entry("nothing", lambda: None)], rounds=3)["nothing"].problem is None
        True
    """

    def timed(entry: Entry) -> Outcome:
        synchronize()
        start = clock()
        try:
            entry.run()
            synchronize()
        except Exception as error:  # another library's code: one that fails must not end the benchmark
            return Outcome(problem=describe(error))
        return Outcome((clock() - start,))

    warm: dict[str, Outcome] = {}
    for entry in entries:
        tell(f"warming up: {entry.name}")
        warm[entry.name] = timed(entry)
    planned = {entry.name: _planned(entry, warm, rounds) for entry in entries}
    found = {name: outcome for name, outcome in warm.items() if outcome.problem or not planned[name]}
    samples: dict[str, list[float]] = {name: [] for name in warm if name not in found}

    def outcomes(rounds: int) -> dict[str, Outcome]:
        return {
            entry.name: found.get(entry.name) or Outcome(tuple(samples[entry.name][:rounds]))
            for entry in entries
        }

    order = random.Random(0)
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        try:
            for entry in order.sample(list(entries), len(entries)):
                if entry.name in found or turn >= planned[entry.name]:
                    continue
                outcome = timed(entry)
                samples[entry.name] += outcome.seconds
                if outcome.problem:
                    found[entry.name] = outcome
        except KeyboardInterrupt:
            if not turn:
                raise
            raise Interrupted(outcomes(turn), turn) from None
    return outcomes(rounds)


def describe(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, VitcamError) and text else f"{type(error).__name__}: {text}"


def is_endless(entry: Entry, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether an entry is so slow, beside its reference, that once is enough."""
    seconds, reference = (
        min(_seconds(outcomes, name), default=0.0) for name in (entry.name, entry.reference)
    )
    return bool(reference) and seconds > max(ENDLESS * reference, IMPORTING)


def _planned(entry: Entry, warm: Mapping[str, Outcome], rounds: int) -> int:
    """How many rounds an entry runs in."""
    if is_endless(entry, warm):
        return 0
    seconds, reference = (sum(_seconds(warm, name)) for name in (entry.name, entry.reference))
    return min(rounds, FEW) if reference and seconds > SLOW * reference else rounds


def _seconds(outcomes: Mapping[str, Outcome], name: str | None) -> tuple[float, ...]:
    return outcomes[name].seconds if name is not None and name in outcomes else ()

"""From entries to rows: times in turns, peak memory, other values, limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from vitcam.bench.limits import check
from vitcam.bench.machine import Machine
from vitcam.bench.memory import MIB, peak_bytes
from vitcam.bench.results import Row
from vitcam.bench.settings import Settings
from vitcam.bench.statistics import per_image, ratios, spread
from vitcam.bench.subject import BenchSubject, load_subject
from vitcam.bench.timing import Entry, Interrupted, Outcome, interleave, is_endless

Tell = Callable[[str], None]


@dataclass
class Bench:
    """What the parts of a benchmark share.

    Attributes:
        settings: what is asked for.
        machine: where it runs.
        tell: is told how far it is.
        interrupted: after how much of the last group somebody interrupted it; "" if nobody did.
    """

    settings: Settings
    machine: Machine
    tell: Tell
    interrupted: str = ""

    @cached_property
    def subject(self) -> BenchSubject:
        """The model that is benchmarked."""
        self.tell(f"loading {self.settings.model}")
        return load_subject(self.settings.model, self.settings.precision, self.settings.device)

    def measure(
        self, title: str, entries: Sequence[Entry], *, rounds: int | None = None, weigh: bool = True
    ) -> tuple[Row, ...]:
        """Runs entries in turns. Interrupted, it gives what it has by then, and ``interrupted`` says so.

        Args:
            title: of the group, to tell how far it is.
            entries: what is measured.
            rounds: at most so many.
            weigh: whether to find out their peak memory.
        """

        def tell(sentence: str) -> None:
            self.tell(f"{title}: {sentence}")

        repeats = self.settings.repeats if rounds is None else min(rounds, self.settings.repeats)
        try:
            outcomes = interleave(entries, repeats, synchronize=self.synchronize, tell=tell)
        except Interrupted as stop:
            self.interrupted = f"Interrupted after {stop.rounds} of {repeats} rounds; memory wasn't measured."
            return rows_of([replace(entry, values={}) for entry in entries], stop.outcomes)
        quick = [
            entry for entry in entries if outcomes[entry.name].seconds and not is_endless(entry, outcomes)
        ]
        tell("peak memory")
        peaks = {entry.name: peak_bytes(entry.run, self.subject.device) for entry in quick} if weigh else {}
        return rows_of(entries, outcomes, {name: peak for name, peak in peaks.items() if peak is not None})

    def synchronize(self) -> None:
        """Waits for the device."""
        kind = self.subject.device.type
        if kind == "cuda":
            torch.cuda.synchronize(self.subject.device)
        elif kind == "mps":
            torch.mps.synchronize()


def rows_of(
    entries: Sequence[Entry], outcomes: Mapping[str, Outcome], peaks: Mapping[str, int] | None = None
) -> tuple[Row, ...]:
    """The rows of entries that have run.

    Args:
        entries: in the order of the rows.
        outcomes: what became of each of them.
        peaks: bytes at the peak, of those of which it is known.
    """
    times = {name: outcome.seconds for name, outcome in outcomes.items() if outcome.seconds}
    each = per_image(times, {entry.name: entry.images for entry in entries})
    fastest = fastest_ways(entries, each)
    return tuple(_row(entry, outcomes[entry.name], each, fastest, peaks or {}) for entry in entries)


def fastest_ways(entries: Sequence[Entry], each: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """From an entry whose result others give as well to the fastest of them, by the median.

    Args:
        entries: what was measured.
        each: seconds per image of those that ran.

    Example:
        >>> entries = [Entry("forward", print), Entry("oneDNN", print, same_as="forward")]
        >>> fastest_ways(entries, {"forward": [2.0], "oneDNN": [1.0]})
        {'forward': 'oneDNN'}
    """
    ways: dict[str, list[str]] = {}
    for entry in entries:
        if entry.same_as in each and entry.name in each:
            ways.setdefault(entry.same_as or "", [entry.same_as or ""]).append(entry.name)
    return {result: min(names, key=lambda name: spread(each[name]).median) for result, names in ways.items()}


def _row(
    entry: Entry,
    outcome: Outcome,
    each: Mapping[str, Sequence[float]],
    fastest: Mapping[str, str],
    peaks: Mapping[str, int],
) -> Row:
    if outcome.problem is not None:
        return Row(entry.name, "failed", outcome.problem, entry.note, entry.images, entry.reference)
    memory = None
    if entry.reference is not None and entry.name in peaks and entry.reference in peaks:
        memory = (peaks[entry.name] - peaks[entry.reference]) / entry.images / MIB
    reference = each.get(entry.reference or "")
    way = fastest.get(entry.reference or "")
    values = {name: value() for name, value in entry.values.items()}
    known = values if memory is None else {**values, "memory": memory}
    compared = way or entry.reference
    checks = (check(limit, entry.name, compared, each, known) for limit in entry.limits)
    return Row(
        name=entry.name,
        note=entry.note,
        images=entry.images,
        reference=entry.reference,
        seconds=outcome.seconds,
        ratios=ratios(each[entry.name], [reference]) if reference else (),
        fastest=way,
        fastest_ratios=ratios(each[entry.name], [each[way]]) if way else (),
        memory=memory,
        values=values,
        checks=tuple(found for found in checks if found is not None),
    )

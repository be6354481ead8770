"""What a benchmark found, and its JSON.

The JSON is one object::

    {"format": 1,
     "vitcam": "0.1.0",
     "machine": {every field of ``Machine``},
     "settings": {every field of ``Settings``},
     "groups": [{"part": "methods", "title": …, "notes": […],
                 "rows": [{"name": …, "status": "measured" | "failed" | "not applicable" | "not installed",
                           "problem": null or why it wasn't measured,
                           "note": …, "images": per call, "reference": a row's name or null,
                           "seconds": [one per round], "median": …, "quartiles": [low, high],
                           "images_per_second": from the median,
                           "ratios": [one per round], "ratio": their median, "ratio_quartiles": [low, high],
                           "fastest": the fastest way to the reference's result or null,
                           "fastest_ratios": [one per round], "fastest_ratio": their median,
                           "memory_mib_per_image": above the reference or null, "values": {name: number},
                           "targets": [{"what": …, "of": [rows' names], "bound": …, "at_least": …, "goal": …,
                                        "value": …, "met": …}]}]}]}

Rows of one group ran in the same run, in turns. What a row doesn't have is null or empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vitcam import __version__
from vitcam.bench.limits import Check
from vitcam.bench.statistics import Spread, spread

if TYPE_CHECKING:
    from vitcam.bench.machine import Machine
    from vitcam.bench.settings import Settings

FORMAT = 1

Status = Literal["measured", "failed", "not applicable", "not installed"]


@dataclass(frozen=True)
class Row:
    """What was measured of an entry.

    Attributes:
        name: the entry's.
        status: whether it was measured.
        problem: why it wasn't.
        note: for people, what one should know to read its numbers.
        images: that each of the times is for.
        reference: the name of the entry that it is compared with.
        seconds: all times, one per round.
        ratios: per round, time per image ÷ the reference's.
        fastest: the fastest way to the reference's result, where several were measured.
        fastest_ratios: per round, time per image ÷ that of the fastest way.
        memory: MiB per image above the reference at the peak.
        values: what else was measured, by name.
        checks: what it had to reach.
    """

    name: str
    status: Status = "measured"
    problem: str | None = None
    note: str = ""
    images: int = 1
    reference: str | None = None
    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    fastest: str | None = None
    fastest_ratios: tuple[float, ...] = ()
    memory: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def time(self) -> Spread | None:
        """Of its times."""
        return spread(self.seconds) if self.seconds else None

    @property
    def ratio(self) -> Spread | None:
        """Of its ratios."""
        return spread(self.ratios) if self.ratios else None

    @property
    def fastest_ratio(self) -> Spread | None:
        """Of its ratios to the fastest way."""
        return spread(self.fastest_ratios) if self.fastest_ratios else None

    @property
    def images_per_second(self) -> float | None:
        """By its median time."""
        return self.images / self.time.median if self.time else None


@dataclass(frozen=True)
class Group:
    """Rows that were measured in turns.

    Attributes:
        part: of the benchmark that it belongs to.
        title: what it is about.
        rows: in the order in which they are shown.
        notes: sentences for people on how to read it.
    """

    part: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def failures(groups: Sequence[Group]) -> list[tuple[Group, Row]]:
    """The rows that failed."""
    return [(group, row) for group in groups for row in group.rows if row.status == "failed"]


def to_json(machine: Machine, settings: Settings, groups: Sequence[Group]) -> dict[str, Any]:
    """The whole benchmark as an object of JSON; see the module's docstring."""
    return {
        "format": FORMAT,
        "vitcam": __version__,
        "machine": asdict(machine),
        "settings": asdict(settings),
        "groups": [
            {
                "part": group.part,
                "title": group.title,
                "notes": list(group.notes),
                "rows": [_row(row) for row in group.rows],
            }
            for group in groups
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    time, ratio = row.time, row.ratio
    return {
        "name": row.name,
        "status": row.status,
        "problem": row.problem,
        "note": row.note,
        "images": row.images,
        "reference": row.reference,
        "seconds": list(row.seconds),
        "median": time.median if time else None,
        "quartiles": [time.low, time.high] if time else None,
        "images_per_second": row.images_per_second,
        "ratios": list(row.ratios),
        "ratio": ratio.median if ratio else None,
        "ratio_quartiles": [ratio.low, ratio.high] if ratio else None,
        "fastest": row.fastest,
        "fastest_ratios": list(row.fastest_ratios),
        "fastest_ratio": row.fastest_ratio.median if row.fastest_ratio else None,
        "memory_mib_per_image": row.memory,
        "values": dict(row.values),
        "targets": [
            {**asdict(check.limit), "of": list(check.limit.of), "value": check.value, "met": check.met}
            for check in row.checks
        ],
    }

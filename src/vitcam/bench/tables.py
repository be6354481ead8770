"""A benchmark as text: the cells of its tables, and all of it as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitcam import __version__
from vitcam.bench.limits import Check
from vitcam.bench.results import Group, Row
from vitcam.bench.settings import MODEL, THREADS
from vitcam.bench.statistics import Spread

if TYPE_CHECKING:
    from vitcam.bench.machine import Machine
    from vitcam.bench.settings import Settings

HEADER = ("", "Time", "Ratio", "Of fastest", "Images/s", "MiB/image", "Target")
LEGEND = (
    "Time: median of the rounds (first to third quartile). Ratio: time per image ÷ that of the model's own forward "
    "pass, or of the loop, in the same round. Of fastest: ÷ that of the fastest way in which this machine made the "
    "same prediction; targets are of that. MiB/image: tensors at the peak, above the forward pass. "
    f"Targets are for {MODEL} with {THREADS} threads."
)

NOTHING = "–"
_SIGNS = {True: "≥", False: "≤"}
_UNITS = {"time": "×", "speed": "×", "memory": " MiB", "seconds": " s"}
_WHAT = {"time": "", "memory": "", "seconds": "", "speed": "images/s "}


def table(group: Group) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of a group's table, without columns in which nothing stands."""
    rows = [cells(row) for row in group.rows]
    used = [i for i in range(len(HEADER)) if i == 0 or any(row[i] not in ("", NOTHING) for row in rows)]
    return tuple(HEADER[i] for i in used), [tuple(row[i] for i in used) for row in rows]


def cells(row: Row) -> tuple[str, ...]:
    """A row's cells, in the order of ``HEADER``.

    Example:
        >>> cells(Row("agcam", images=2, seconds=(0.2,), ratios=(1.05,)))
        ('agcam', '200 ms', '1.05×', '–', '10.0', '–', '')
    """
    if row.status != "measured":
        return (row.name, row.status, "", "", "", "", "")
    rate = row.images_per_second
    return (
        row.name,
        _times(row.time),
        _ratios(row.ratio),
        _ratios(row.fastest_ratio),
        f"{rate:.1f}" if rate and row.images else NOTHING,
        NOTHING if row.memory is None else f"{row.memory:.1f}",
        "; ".join(map(target, row.checks)),
    )


def target(check: Check) -> str:
    """A limit, what was measured, and whether that is enough.

    Example:
        >>> from vitcam.bench.limits import Check, Limit
        >>> target(Check(Limit("time", 1.2), 1.1))
        '≤ 1.20×: met'
    """
    limit, unit = check.limit, _UNITS.get(check.limit.what, "")
    shown = (
        ""
        if limit.what in ("time", "memory", "seconds") and not limit.of
        else f", {_number(check.value)}{unit}"
    )
    of = f" of {_joined(limit.of)}" if limit.of else ""
    what = _WHAT.get(limit.what, f"{limit.what} ")
    bound = f"{what}{_SIGNS[limit.at_least]} {_number(limit.bound)}{unit}{of}"
    return f"{bound}: {'met' if check.met else 'missed'}{shown}"


def remarks(group: Group) -> list[str]:
    """What is to be said under a group's table: why rows failed, and their notes."""
    most = max((len(row.seconds) for row in group.rows), default=0)
    fewer = [f"{row.name} ({len(row.seconds)})" for row in group.rows if 0 < len(row.seconds) < most]
    slow = [f"Fewer rounds, being slow: {', '.join(fewer)}"] if fewer else []
    problems = [f"{row.name}: {row.problem}" for row in group.rows if row.problem]
    ways = dict.fromkeys(row.fastest for row in group.rows if row.fastest)
    fastest = [f"The fastest way to the same prediction: {way}" for way in ways]
    return [
        *group.notes,
        *fastest,
        *slow,
        *problems,
        *(f"{row.name}: {row.note}" for row in group.rows if row.note),
    ]


def processor(machine: Machine) -> str:
    """The processor, what it can, and what ran on it: what belongs to every table."""
    known = "; ".join(filter(None, (machine.model, ", ".join(machine.instruction_sets))))
    libraries = "".join(f", {name} {number}" for name, number in machine.libraries.items())
    return (
        f"{machine.cpu}{f' ({known})' if known else ''}, torch uses {machine.torch_uses}; "
        f"{machine.threads} thread{'s' * (machine.threads > 1)} on {machine.device}; vitcam {__version__}, "
        f"torch {machine.torch}{libraries}"
    )


def heading(machine: Machine, settings: Settings) -> str:
    """The machine and the settings, in one sentence each."""
    ram = "" if machine.ram_gib is None else f", {machine.ram_gib:g} GiB"
    return (
        f"{machine.cpu}, {machine.cores} core{'s' * (machine.cores > 1)}{ram}; "
        f"{machine.threads} thread{'s' * (machine.threads > 1)} on {machine.device}; {machine.system}.\n"
        f"vitcam {__version__}, torch {machine.torch}, Python {machine.python}; {machine.date}. "
        f"{settings.model}, {settings.precision}, {settings.repeats} round{'s' * (settings.repeats > 1)}."
    )


def as_markdown(machine: Machine, settings: Settings, groups: Sequence[Group]) -> str:
    """The whole benchmark, for documentation."""
    lines = [heading(machine, settings).replace("\n", "\n\n"), "", LEGEND, ""]
    for group in groups:
        header, rows = table(group)
        marks = ["---" if title in ("", "Target") else "---:" for title in header]
        lines += [f"### {group.title}", "", f"{processor(machine)}.", "", *map(_line, (header, marks, *rows))]
        lines += ["", *(f"- {_escaped(remark)}" for remark in remarks(group))]
        if lines[-1]:
            lines.append("")
    return "\n".join(lines)


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, texts))} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _times(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    scale, unit = (1, "s") if spread.median >= 1 else (1000, "ms")
    low, median, high = (_number(scale * seconds) for seconds in (spread.low, spread.median, spread.high))
    return f"{median} {unit}" + ("" if low == high else f" ({low}–{high})")


def _ratios(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    low, median, high = (_number(ratio) for ratio in (spread.low, spread.median, spread.high))
    return f"{median}×" + ("" if low == high else f" ({low}–{high})")


def _number(value: float) -> str:
    """Three digits, as far as they mean anything.

    Example:
        >>> [_number(value) for value in (0.0004, 1.234, 12.34, 123.4)]
        ['0.0004', '1.23', '12.3', '123']
    """
    if abs(value) < 0.01:
        return f"{value:.1g}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the {len(names)} one by one"

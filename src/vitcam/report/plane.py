"""Methods between cost and quality: milliseconds per map to the right, the main measure upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median
from typing import Any

from vitcam.evaluation.measure import is_control
from vitcam.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ticks
from vitcam.report.run import Run
from vitcam.report.tables import Estimate, ScoreTable

_STEPS = (1, 2, 5)
_LETTER, _LINE = 6.6, 13.0
"""Of a name in the plane, in pixels."""


@dataclass(frozen=True)
class PlanePoint:
    """A method in the plane; places are pixels of the picture.

    Attributes:
        method: its name.
        milliseconds: per map, the median of the run's rounds.
        estimate: of the measure's mean.
        x, y, low, high: where the point and the ends of its interval are.
        label: where its name stands, and which end of it.
        unbeaten: no other method, controls aside, is both as cheap and as good.
    """

    method: str
    milliseconds: float
    estimate: Estimate
    x: float
    y: float
    low: float
    high: float
    label: tuple[float, float, str]
    unbeaten: bool


@dataclass(frozen=True)
class Plane:
    """The methods of a run.

    Attributes:
        title: above it.
        table: the measure that runs upwards.
        x_labels, y_labels: places on the axes, and what stands there.
        points: from the cheapest.
        note: how the costs were measured.
    """

    title: str
    table: ScoreTable
    x_labels: tuple[tuple[float, str], ...]
    y_labels: tuple[tuple[float, str], ...]
    points: tuple[PlanePoint, ...]
    note: str


def planes(table: ScoreTable, runs: Sequence[Run]) -> list[Plane]:
    """The plane of each run that has measured what its methods cost.

    Args:
        table: of the measure.
        runs: side by side.

    Raises:
        ReportError: a run's ``costs.json`` is damaged.
    """
    drawn = []
    for run in runs:
        if run.costs is None:
            continue
        costs = {name: median(times) for name, times in run.costs["ms_per_map"].items()}
        means = {row.method: row.estimate for row in table.rows if row.run == run.name}
        placed = [name for name in sorted(costs, key=lambda name: costs[name]) if name in means]
        if len(placed) > 1:
            of_run = f", {run.name}" if len(runs) > 1 else ""
            drawn.append(_plane(table, of_run, placed, costs, means, _note(run.costs)))
    return drawn


def unbeaten(costs: Mapping[str, float], gains: Mapping[str, float]) -> set[str]:
    """Those that no other is both at least as cheap and at least as good as, and better in one of the two.

    Example:
        >>> sorted(unbeaten({"a": 1, "b": 2, "c": 3}, {"a": 0.1, "b": 0.5, "c": 0.4}))
        ['a', 'b']
    """
    return {
        name
        for name in gains
        if not any(
            costs[other] <= costs[name]
            and gains[other] >= gains[name]
            and (costs[other], gains[other]) != (costs[name], gains[name])
            for other in gains
        )
    }


def round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around a range of positive numbers; powers alone where these were many.

    Example:
        >>> round_numbers(3.0, 45.0)
        [2.0, 5.0, 10.0, 20.0, 50.0]
    """
    every = [
        step * 10.0**power for power in range(floor(log10(low)) - 1, ceil(log10(high)) + 2) for step in _STEPS
    ]
    first = max(i for i, number in enumerate(every) if number <= low * (1 + 1e-9))
    last = min(i for i, number in enumerate(every) if number >= high * (1 - 1e-9))
    if last - first <= 6:
        return every[first : max(last, first + 1) + 1]
    return [10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1)]


def _plane(
    table: ScoreTable,
    of_run: str,
    methods: Sequence[str],
    costs: Mapping[str, float],
    means: Mapping[str, Estimate],
    note: str,
) -> Plane:
    least = 1e-3  # ms: below it the clock tells nothing, and a logarithm needs more than 0
    across = round_numbers(max(costs[methods[0]], least), max(costs[methods[-1]], least))
    upwards = ticks(min(means[name].low for name in methods), max(means[name].high for name in methods))

    def x_of(milliseconds: float) -> float:
        share = log10(max(milliseconds, least) / across[0]) / log10(across[-1] / across[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        share = (value - upwards[0]) / (upwards[-1] - upwards[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    rivals = [name for name in methods if not is_control(name)]
    best = unbeaten(costs, {name: (table.measure.sign or 1) * means[name].mean for name in rivals})
    places = {name: (x_of(costs[name]), y_of(means[name].mean)) for name in methods}
    labels = _labels(places)
    points = tuple(
        PlanePoint(
            name,
            costs[name],
            means[name],
            *places[name],
            y_of(means[name].low),
            y_of(means[name].high),
            labels[name],
            name in best,
        )
        for name in methods
    )
    return Plane(
        f"{table.measure.title} against cost{of_run}",
        table,
        tuple((x_of(number), f"{number:g}") for number in across),
        tuple((y_of(number), f"{number:.2f}".replace("-", "−")) for number in upwards),
        points,
        note,
    )


def _labels(places: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float, str]]:
    """Where names stand, so that they cover neither points nor each other, as far as that can be."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    labels = {}
    for name, (x, y) in places.items():
        width = _LETTER * len(name)
        tried = []
        for away in (0, 1, -1, 2, -2, 3, -3):
            line = y + 4 + away * _LINE
            tried += [(x + 9, line, "start"), (x - 9, line, "end")]
        boxes = [
            (
                at if anchor == "start" else at - width,
                line - 10,
                at + width if anchor == "start" else at,
                line + 3,
            )
            for at, line, anchor in tried
        ]
        cost = [_covered(box, taken) + 2 * _outside(box) for box in boxes]
        chosen = min(range(len(tried)), key=lambda i: cost[i] + 3 * (i // 2) + 0.1 * i)
        taken.append(boxes[chosen])
        at, line, anchor = tried[chosen]
        labels[name] = (round(at, 1), round(line, 1), anchor)
    return labels


Box = tuple[float, float, float, float]


def _covered(box: Box, others: Sequence[Box]) -> float:
    return sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in others
    )


def _outside(box: Box) -> float:
    beyond = max(0.0, LEFT - box[0]) + max(0.0, box[2] - WIDTH)
    return 20 * (beyond + max(0.0, -box[1]) + max(0.0, box[3] - (HEIGHT - BOTTOM)))


def _note(costs: Mapping[str, Any]) -> str:
    rounds = max(len(times) for times in costs["ms_per_map"].values())
    threads = costs.get("threads")
    where = f"on {costs.get('device')} with {threads} thread{'s' * (threads != 1)}, {costs.get('precision')}"
    times = f"the median of {rounds} rounds in turns" if rounds > 1 else "in one round, whose times are rough"
    return (
        f"Cost is that of a method by itself, the forward pass included: {where}, batches of "
        f"{costs.get('batch_size')}, measured at the end of this run, {times}. Methods of one run share passes, and "
        "take less together."
    )

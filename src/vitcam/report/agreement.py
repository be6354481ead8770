"""Whether measures put a run's methods in the same order: their rank correlations, and what chance alone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Float

from vitcam.evaluation.measure import Number, Task, is_control
from vitcam.report.tables import ScoreTable

FEWEST = 3
"""Methods, without which there is no order to compare."""

LEVEL = 0.05
"""How often chance may give a correlation as far from 0 as the one that counts."""

_EXACT = 8
_DRAWS = 20_000


@dataclass(frozen=True)
class MeasureAgreement:
    """How the measures of a run agree on its methods.

    Attributes:
        run: its name.
        methods: those that are compared, without controls, which nearly all measures put last.
        measures: the lines and columns, each with its task.
        correlations: Spearman's, of the methods' means, 1 where both call the same methods better; NaN where a
            measure has fewer than ``FEWEST`` of the methods, or the same number for all of them.
        chance: how far from 0 a correlation must be to come by chance in at most ``LEVEL`` of all orders; None where
            even the same order isn't rare enough.
    """

    run: str
    methods: tuple[str, ...]
    measures: tuple[tuple[Task, Number], ...]
    correlations: Float[np.ndarray, "measures measures"]
    chance: float | None

    @property
    def extremes(self) -> tuple[tuple[Number, Number, float], tuple[Number, Number, float]] | None:
        """The two measures that agree least, and the two that agree most; None without any two."""
        pairs = [
            (self.measures[i][1], self.measures[j][1], float(self.correlations[i, j]))
            for i, j in combinations(range(len(self.measures)), 2)
            if np.isfinite(self.correlations[i, j])
        ]
        if not pairs:
            return None
        return min(pairs, key=lambda pair: pair[2]), max(pairs, key=lambda pair: pair[2])


def agreements(tables: Sequence[ScoreTable]) -> list[MeasureAgreement]:
    """The agreement of each run that has ``FEWEST`` methods and two measures.

    Args:
        tables: as from ``score_tables``; measures of which no direction is better are left out.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> agreements(score_tables(read_runs(["run"])))  # of two methods and two controls
        []
    """
    found = []
    for run in dict.fromkeys(row.run for table in tables for row in table.rows):
        means = {
            (table.task, table.measure): {
                row.method: table.measure.sign * row.estimate.mean
                for row in table.rows
                if row.run == run and not is_control(row.method)
            }
            for table in tables
            if table.measure.sign
        }
        measures = tuple(place for place, of_measure in means.items() if of_measure)
        methods = tuple(dict.fromkeys(name for of_measure in means.values() for name in of_measure))
        if len(methods) >= FEWEST and len(measures) > 1:
            table = np.array([[_agreement(means[a], means[b]) for b in measures] for a in measures])
            found.append(MeasureAgreement(run, methods, measures, table, chance(len(methods))))
    return found


def _agreement(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    shared = [name for name in first if name in second]
    if len(shared) < FEWEST:
        return float("nan")
    return rank_correlation([first[name] for name in shared], [second[name] for name in shared])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's ρ: Pearson's correlation of the ranks, equal numbers sharing their mean rank.

    Source: Spearman 1904. NaN where all numbers of one are equal.

    Args:
        first, second: of the same things.

    Example:
        >>> rank_correlation([0.1, 0.2, 0.9], [5.0, 6.0, 7.0]), rank_correlation([1.0, 2.0], [2.0, 1.0])
        (1.0, -1.0)
    """
    a, b = (_ranks(np.asarray(numbers, dtype=np.float64)) for numbers in (first, second))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return round(float(a @ b) / spread, 12) if spread else float("nan")


def _ranks(numbers: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2)[place])


@cache
def chance(methods: int) -> float | None:
    """The smallest \\|ρ\\| that at most ``LEVEL`` of the orders of so many methods reach; None if there is none.

    All orders are counted up to eight methods, 20,000 of them drawn beyond.

    Example:
        >>> chance(4), chance(5), chance(6)
        (None, 1.0, 0.885714...)
    """
    if methods <= _EXACT:
        orders = np.array(list(permutations(range(methods))), dtype=np.float64)
    else:
        random = np.random.default_rng(0)
        orders = np.array([random.permutation(methods) for _ in range(_DRAWS)], dtype=np.float64)
    middle = (methods - 1) / 2
    of_same_order = np.arange(methods) - middle
    reached = np.abs((orders - middle) @ of_same_order) / (of_same_order @ of_same_order)
    values, counts = np.unique(reached.round(9), return_counts=True)
    at_least = counts[::-1].cumsum()[::-1] / len(orders)
    rare = values[at_least <= LEVEL]
    return float(rare[0]) if len(rare) else None

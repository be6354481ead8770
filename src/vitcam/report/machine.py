"""A report for machines: one object of JSON, with all digits."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from vitcam.evaluation.statistics import LEVEL, RESAMPLES
from vitcam.report.agreement import MeasureAgreement, agreements
from vitcam.report.run import Run
from vitcam.report.tables import Estimate, ScoreRow, ScoreTable

FORMAT = 1


def as_json(tables: Sequence[ScoreTable], runs: Sequence[Run]) -> dict[str, Any]:
    """What a report says, as an object of JSON.

    ``runs`` have their settings, counts, gaps and costs (milliseconds per map, one number per round, or null);
    ``tables`` a row per run and method: ``mean``, ``interval``, ``images``, ``leads`` (the best, or not to be told
    from it) and ``difference`` to the reference, or null; ``agreement`` the rank correlations of measures, null where
    there is none.

    Args:
        tables: as from ``score_tables``.
        runs: what they are of.

    Raises:
        ReportError: a run's ``costs.json`` is damaged.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> report = as_json(score_tables(runs), runs)
        >>> list(report), report["tables"][0]["measure"], report["tables"][0]["rows"][0]["method"]
        (['format', 'level', 'resamples', 'runs', 'tables', 'agreement'], 'iou', 'agcam')
    """
    return {
        "format": FORMAT,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "runs": [_run(run) for run in runs],
        "tables": [
            {
                "task": table.task,
                "measure": table.measure.key,
                "title": table.measure.title,
                "better": table.measure.better,
                "reference": table.reference,
                "rows": [_row(row) for row in table.rows],
            }
            for table in tables
        ],
        "agreement": [_agreement(each) for each in agreements(tables)],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.path),
        "settings": dict(run.settings),
        "methods": list(run.methods),
        "counts": {task: run.counts(task) for task in run.tasks},
        "gaps": list(run.gaps),
        "costs": run.costs,
    }


def _row(row: ScoreRow) -> dict[str, Any]:
    paired = row.difference
    return {
        "run": row.run,
        "method": row.method,
        **_estimate(row.estimate),
        "leads": row.leads,
        "difference": paired and {**_estimate(paired.estimate), "p": paired.p, "p_holm": paired.p_holm},
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.mean, "interval": [estimate.low, estimate.high], "images": estimate.images}


def _agreement(each: MeasureAgreement) -> dict[str, Any]:
    return {
        "run": each.run,
        "methods": list(each.methods),
        "measures": [measure.key for _, measure in each.measures],
        "chance": each.chance,
        "correlations": [
            [float(value) if isfinite(value) else None for value in line] for line in each.correlations
        ],
    }

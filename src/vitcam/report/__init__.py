"""From a run's rows to tables, plots and a page. Needs no torch, no model and no dataset.

The names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitcam.report.errors import ReportError
    from vitcam.report.page import report_page
    from vitcam.report.run import Run, read_runs
    from vitcam.report.tables import ScoreTable, score_tables
    from vitcam.report.text import as_csv, as_latex, as_markdown

_HOMES = {
    "ReportError": "vitcam.report.errors",
    "Run": "vitcam.report.run",
    "ScoreTable": "vitcam.report.tables",
    "as_csv": "vitcam.report.text",
    "as_latex": "vitcam.report.text",
    "as_markdown": "vitcam.report.text",
    "read_runs": "vitcam.report.run",
    "report_page": "vitcam.report.page",
    "score_tables": "vitcam.report.tables",
}

__all__ = [
    "ReportError",
    "Run",
    "ScoreTable",
    "as_csv",
    "as_latex",
    "as_markdown",
    "read_runs",
    "report_page",
    "score_tables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

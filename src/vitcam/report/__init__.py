"""From a run's rows to tables, plots and a page. Needs no torch, no model and no dataset.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.errors import ReportError
    from vitcam.report.machine import as_json
    from vitcam.report.page import report_page
    from vitcam.report.run import Run, read_runs
    from vitcam.report.tables import ScoreTable, score_tables
    from vitcam.report.text import as_csv, as_latex, as_markdown

__all__ = [
    "ReportError",
    "Run",
    "ScoreTable",
    "as_csv",
    "as_json",
    "as_latex",
    "as_markdown",
    "read_runs",
    "report_page",
    "score_tables",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ReportError": "vitcam.errors",
        "Run": "vitcam.report.run",
        "ScoreTable": "vitcam.report.tables",
        "as_csv": "vitcam.report.text",
        "as_json": "vitcam.report.machine",
        "as_latex": "vitcam.report.text",
        "as_markdown": "vitcam.report.text",
        "read_runs": "vitcam.report.run",
        "report_page": "vitcam.report.page",
        "score_tables": "vitcam.report.tables",
    },
)

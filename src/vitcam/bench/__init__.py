"""What an explanation costs, measured against the model's own prediction and against other libraries.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.bench.machine import Machine, this_machine
    from vitcam.bench.results import Group, Row, failures, to_json
    from vitcam.bench.run import run_bench
    from vitcam.bench.settings import PARTS, Settings
    from vitcam.errors import BenchError

__all__ = [
    "PARTS",
    "BenchError",
    "Group",
    "Machine",
    "Row",
    "Settings",
    "failures",
    "run_bench",
    "this_machine",
    "to_json",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PARTS": "vitcam.bench.settings",
        "BenchError": "vitcam.errors",
        "Group": "vitcam.bench.results",
        "Machine": "vitcam.bench.machine",
        "Row": "vitcam.bench.results",
        "Settings": "vitcam.bench.settings",
        "failures": "vitcam.bench.results",
        "run_bench": "vitcam.bench.run",
        "this_machine": "vitcam.bench.machine",
        "to_json": "vitcam.bench.results",
    },
)

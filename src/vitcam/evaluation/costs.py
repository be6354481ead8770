"""A run's ``costs.json``: how long each method takes for a map. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.parts import write_stored

FILE = "costs.json"
"""Beside ``summary.json`` and not in it: times aren't the same when a run is done again."""


def write_costs(run: Path, costs: Mapping[str, Any]) -> None:
    """Writes a run's ``costs.json``.

    Raises:
        RunError: it can't be written.
    """
    write_stored(run / FILE, f"{json.dumps(costs, indent=2)}\n".encode())


def read_costs(run: Path) -> dict[str, Any] | None:
    """What a run's ``costs.json`` holds; None where a run has none.

    Raises:
        RunError: it can't be read.
    """
    file = run / FILE
    if not file.is_file():
        return None
    try:
        costs = json.loads(file.read_text(encoding="utf-8"))
        samples = costs["ms_per_map"]
        whole = all(times and all(float(each) >= 0 for each in times) for times in samples.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    if not whole:
        raise _damaged(file, "a method has no times, or negative ones")
    return dict(costs)


def _damaged(file: Path, why: str) -> RunError:
    return RunError(
        f"{file} is damaged ({why}): expected the milliseconds per map of each method. Delete it; a report then says "
        "that costs weren't measured"
    )

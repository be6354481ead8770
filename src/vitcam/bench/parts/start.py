"""How long it takes until vitcam begins to work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from vitcam.bench.limits import Limit
from vitcam.bench.measuring import Bench, rows_of
from vitcam.bench.results import Group
from vitcam.bench.statistics import differences
from vitcam.bench.timing import Entry, Outcome, interleave


def start(bench: Bench) -> Iterator[Group]:
    """Importing vitcam, and ``vitcam --help``, each in a process of its own."""
    python, importing, title = "python -c pass", "python -c 'import vitcam'", "Start"
    entries = [
        Entry("vitcam --help", _process("-m", "vitcam", "--help"), 0, limits=(Limit("seconds", 0.5),)),
        Entry(python, _process("-c", "pass"), 0),
        Entry(importing, _process("-c", "import vitcam"), 0),
    ]
    outcomes = interleave(entries, bench.settings.repeats, tell=bench.tell)
    only = Entry(
        "import vitcam", lambda: None, 0, limits=(Limit("seconds", 0.15),), note="without Python's own start"
    )
    seconds = differences(outcomes[importing].seconds, outcomes[python].seconds)
    outcomes[only.name] = Outcome(seconds, outcomes[importing].problem)
    yield Group("start", title, rows_of([*entries, only], outcomes))


def _process(*arguments: str) -> Callable[[], object]:
    def run() -> object:
        return subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    return run

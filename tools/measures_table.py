"""Makes the tables of docs/every-measure.md: every measure of runs of one model, by all their methods.

python tools/measures_table.py RUN…     # folders that vitcam evaluate wrote, one per task
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_tables import with_tables

from vitcam.evaluation.measure import CONTROLS, Task
from vitcam.evaluation.measures import measures_of
from vitcam.evaluation.store import RunFolder
from vitcam.report import read_runs, score_tables
from vitcam.report.run import Run
from vitcam.report.tables import ScoreRow, ScoreTable

PAGE = Path(__file__).parents[1] / "docs" / "every-measure.md"
BEGIN, END = "<!-- measures: begin (tools/measures_table.py) -->", "<!-- measures: end -->"
ARROWS = {1: " ↑", -1: " ↓"}
"""Behind a title, by the sign of its measure: whether more is better."""
TITLES = {
    "localization": "Localization",
    "perturbation": "What happens when pixels and tokens go",
    "sanity": "Randomised models, moved pictures, and the map itself",
}


def main(folders: Sequence[str]) -> None:
    parts = []
    for run in read_runs(folders):
        tables = score_tables([run])
        for task in run.tasks:
            parts.append(section(run, task, [table for table in tables if table.task == task]))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(text, "\n\n".join(parts) + "\n", BEGIN, END), encoding="utf-8")


def section(run: Run, task: Task, tables: Sequence[ScoreTable]) -> str:
    """A task's table: a row per number, a column per method."""
    methods = [row.method for row in tables[0].rows]
    counts = run.counts(task)
    lines = [
        f"### {TITLES[task]}",
        "",
        f"{counts['done']} photographs, {counts['images']} of them scored; images at {run.settings['precision']}.",
        "",
        f"| number | {' | '.join(f'`{name}`' for name in methods)} |",
        f"|---|{'--:|' * len(methods)}",
    ]
    for table in tables:
        by_method = {row.method: row for row in table.rows}
        arrow = ARROWS.get(table.measure.sign, "")
        means = {
            name: row.estimate.mean * table.measure.sign
            for name, row in by_method.items()
            if name not in CONTROLS and table.measure.sign
        }
        best = max(means, key=lambda name: means[name], default=None)
        cells = (_cell(by_method.get(name), name == best) for name in methods)
        lines.append(f"| {table.measure.title}{arrow} | {' | '.join(cells)} |")
    times = RunFolder(run.path).times().get(task)
    return "\n".join([*lines, "", _costs(task, times, len(methods))] if times else lines)


def _cell(row: ScoreRow | None, best: bool) -> str:
    if row is None:
        return "–"
    mean, half = row.estimate.mean, (row.estimate.high - row.estimate.low) / 2
    digits = 3 if abs(mean) < 10 else 1
    shown = f"{mean:.{digits}f} ± {half:.{digits}f}".replace("-", "−")
    return f"**{shown}**" if best else shown


def _costs(task: Task, times: Mapping[str, Any], maps: int) -> str:
    seconds, done = times["seconds"], times["images"]
    costs = {"explaining": seconds["explaining"]}
    costs |= {each.name: seconds.get(f"measure {each.name}", 0) for each in measures_of(task)}
    named = ", ".join(
        f"{name} {1000 * value / done / maps:.0f}" for name, value in costs.items() if value > 0.01
    )
    return (
        f"Milliseconds per map, on a machine busy with other work: {named}. A measure that reads what another has "
        "computed costs nothing more."
    )


if __name__ == "__main__":
    main(sys.argv[1:])

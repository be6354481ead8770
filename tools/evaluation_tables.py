"""Makes the tables of docs/evaluation.md of runs of `vitcam evaluate`: a row per method, a column per number.

python tools/evaluation_tables.py PLACE RUN [PLACE RUN …]

PLACE is what a pair of comments of the page names, as `paper-localization` in `<!-- table: paper-localization -->`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench_tables import with_tables
from measures_table import ARROWS

from vitcam.evaluation.measure import CONTROLS
from vitcam.report import read_runs, score_tables
from vitcam.report.tables import ScoreRow

PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
SIGNIFICANT = 0.05
SPACE = "\N{NO-BREAK SPACE}"
NUMBERS = {
    "localization paper": ("pixel_accuracy", "iou", "dice", "precision", "recall"),
    "localization vitcam": (
        "max_iou",
        "max_box_accuracy",
        "max_box_accuracy_v2",
        "pixel_ap",
        "pointing",
        "energy",
    ),
    "perturbation paper": ("abpc", "auc_lerf", "auc_morf"),
    "perturbation vitcam": (
        "auc_insertion_blur",
        "auc_deletion_blur",
        "auc_insertion_mean",
        "auc_deletion_mean",
        "road_abpc",
        "token_abpc",
        "saco",
    ),
}
"""The keys of what is shown, by task and protocol."""


def main(places: Sequence[str], folders: Sequence[str]) -> None:
    """Writes the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    for place, folder in zip(places, folders, strict=True):
        text = with_tables(text, table(folder), f"<!-- table: {place} -->", "<!-- end of the table -->")
    PAGE.write_text(text, encoding="utf-8")


def table(folder: str) -> str:
    """A row per method: means with half of their intervals, and how they compare with AGCAM's."""
    (run,) = read_runs([folder])
    (task,) = run.tasks
    keys = NUMBERS[f"{task} {run.settings['protocol']}"]
    found = {each.measure.key: each for each in score_tables([run], metrics=keys)}
    tables = [found[key] for key in keys]
    titles = [f"{each.measure.title}{ARROWS.get(each.measure.sign, '')}" for each in tables]
    cells = {row.method: [] for row in tables[0].rows}
    for each in tables:
        for row in each.rows:
            cells[row.method].append(cell(row, each.measure.sign))
    lines = [f"| method | {' | '.join(titles)} |", f"|---|{'--:|' * len(titles)}"]
    lines += [f"| `{method}` | {' | '.join(row)} |" for method, row in cells.items()]
    return "\n".join([*lines, ""])


def cell(row: ScoreRow, sign: int) -> str:
    """A mean, in bold where no other is surely better, and ▲ or ▼ where it surely is better or worse than AGCAM's."""
    estimate, difference = row.estimate, row.difference
    shown = f"{estimate.mean:.3f}{SPACE}±{SPACE}{(estimate.high - estimate.low) / 2:.3f}".replace("-", "−")
    if row.leads and row.method not in CONTROLS:
        shown = f"**{shown}**"
    if difference is None or difference.p_holm >= SIGNIFICANT:
        return shown
    return f"{shown}{SPACE}{'▲' if difference.estimate.mean * sign > 0 else '▼'}"


if __name__ == "__main__":
    main(sys.argv[1::2], sys.argv[2::2])

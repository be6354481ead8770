"""What a report says before any number: methods whose maps stay the same where they should change."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.evaluation.unmoved import unmoved_sentences
from vitcam.report.tables import ScoreTable


def unmoved(tables: Sequence[ScoreTable]) -> list[tuple[str, str]]:
    """The name of a run and a sentence, for everything that some of its methods don't depend on.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> unmoved(score_tables(read_runs(["run"])))
        []
    """
    runs = list(dict.fromkeys(row.run for table in tables for row in table.rows))
    return [
        (run, sentence)
        for run in runs
        for sentence in unmoved_sentences(
            [
                (table.measure, {row.method: row.estimate.mean for row in table.rows if row.run == run})
                for table in tables
                if any(row.run == run for row in table.rows)
            ]
        )
    ]

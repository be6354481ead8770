"""The tables: all measures at a glance, then each with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.evaluation.columns import main_number
from vitcam.evaluation.measure import Task
from vitcam.report.figures import interval, p_value, plain, signed, signed_interval, titled
from vitcam.report.grids import overview
from vitcam.report.markup import Markup, element
from vitcam.report.sections.parts import is_control, wide
from vitcam.report.tables import Estimate, ScoreRow, ScoreTable


def glance(task: Task, tables: Sequence[ScoreTable], several_runs: bool) -> list[Markup]:
    """A sentence on the main measure, and a table of all means: methods by measures."""
    own = [table for table in tables if table.task == task]
    means = overview(task, own)
    head = element(
        "tr",
        element("th", "Run", scope="col", class_="name") if several_runs else None,
        element("th", "Method", scope="col", class_="name"),
        [element("th", _link(table), scope="col", title=table.measure.meaning) for table in own],
    )
    rows = [
        element(
            "tr",
            element("td", run, class_="name") if several_runs else None,
            element("th", method, scope="row", class_="name"),
            [_mean(means.rows.get((measure.key, run, method))) for measure in means.measures],
            class_=_new_run(means.who, i),
        )
        for i, (run, method) in enumerate(means.who)
    ]
    table = element("table", element("thead", head), element("tbody", rows), class_="scores glance")
    return [*_sentences(own, several_runs), wide(table, f"All measures of {task}")]


def measure_section(table: ScoreTable, several_runs: bool) -> Markup:
    """One measure: mean, interval as numbers and drawn, paired difference, p."""
    compared = any(row.difference for row in table.rows)
    ends = [end for row in table.rows for end in (row.estimate.low, row.estimate.high)]
    scale = (min(ends), max(ends))
    head = element(
        "tr",
        element("th", "Run", scope="col", class_="name") if several_runs else None,
        element("th", "Method", scope="col", class_="name"),
        element("th", "Mean", scope="col"),
        element("th", "95 % interval", scope="col"),
        element("th", _scale(scale), class_="drawn", aria_hidden="true"),
        [element("th", f"Minus {table.reference}", scope="col"), element("th", "95 % interval", scope="col")]
        if compared
        else None,
        element("th", element("i", "p"), scope="col") if compared else None,
    )
    who = [(row.run, row.method) for row in table.rows]
    rows = [
        element(
            "tr",
            element("td", row.run, class_="name") if several_runs else None,
            element("th", row.method, scope="row", class_="name"),
            _mean(row),
            element("td", interval(row.estimate), class_="interval"),
            element("td", _drawn(row.estimate, scale), class_="drawn", aria_hidden="true"),
            _difference(row) if compared else None,
            class_=" ".join(
                filter(None, (_new_run(who, i), "reference" if row.method == table.reference else ""))
            ),
        )
        for i, row in enumerate(table.rows)
    ]
    body = element("table", element("thead", head), element("tbody", rows), class_="scores")
    images = sorted({row.estimate.images for row in table.rows})
    counted = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    direction = f" {table.measure.better.capitalize()} is better." if table.measure.better else ""
    return element(
        "section",
        element("h4", titled(table.measure)),
        element(
            "p",
            f"{table.measure.meaning}{direction} Over {counted} image{'' if images == [1] else 's'}.",
            class_="meaning",
        ),
        wide(body, f"{table.measure.title} by method"),
        class_="measure",
        id=_anchor(table),
    )


def _link(table: ScoreTable) -> Markup:
    return element("a", titled(table.measure), href=f"#{_anchor(table)}")


def _anchor(table: ScoreTable) -> str:
    return f"{table.task}-{table.measure.key}"


def _mean(row: ScoreRow | None) -> Markup:
    if row is None:
        return element("td", "–", class_="mean")
    text = plain(row.estimate.mean)
    return element("td", element("b", text) if row.leads else text, class_="mean")


def _difference(row: ScoreRow) -> list[Markup]:
    if row.difference is None:
        return [element("td", class_="mean"), element("td"), element("td")]
    estimate = row.difference.estimate
    return [
        element("td", signed(estimate.mean), class_="mean"),
        element("td", signed_interval(estimate), class_="interval"),
        element("td", p_value(row.difference.p_holm)),
    ]


def _drawn(estimate: Estimate, scale: tuple[float, float]) -> Markup:
    low, middle, high = (_share(value, scale) for value in (estimate.low, estimate.mean, estimate.high))
    style = f"--low:{low:.1f}%;--mean:{middle:.1f}%;--length:{high - low:.1f}%"
    return element("span", element("i"), element("b"), class_="whisker", style=style)


def _scale(scale: tuple[float, float]) -> Markup:
    return element("span", element("span", plain(scale[0])), element("span", plain(scale[1])), class_="ends")


def _share(value: float, scale: tuple[float, float]) -> float:
    length = scale[1] - scale[0]
    return 100 * (value - scale[0]) / length if length else 50.0


def _new_run(who: Sequence[tuple[str, str]], place: int) -> str | None:
    return "new-run" if place and who[place][0] != who[place - 1][0] else None


def _sentences(tables: Sequence[ScoreTable], several_runs: bool) -> list[Markup]:
    main = next((table for table in tables if table.measure.key == main_number(table.task)), None)
    if main is None:
        return []
    by_run: dict[str, list[ScoreRow]] = {}
    for row in main.rows:
        by_run.setdefault(row.run, []).append(row)
    return [
        element(
            "p", element("b", f"{run}: ") if several_runs else None, summary(main, rows), class_="finding"
        )
        for run, rows in by_run.items()
    ]


def summary(table: ScoreTable, rows: Sequence[ScoreRow]) -> str:
    """Which method of a run is the best, and what can't be told from it.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> (table,) = score_tables(read_runs(["run"]), metrics=["iou"])
        >>> summary(table, table.rows)
        '... has the highest IoU, 0... (0... – 0...)...'
    """
    best = max(rows, key=lambda row: table.measure.sign * row.estimate.mean)
    who = f"{best.method}, a control," if is_control(best.method) else best.method
    start = f"{who} has the highest {table.measure.title}, {plain(best.estimate.mean)} ({interval(best.estimate)})"
    if len(rows) == 1:
        return f"{start}; it is the only method."
    if not best.leads:
        return f"{start}, but no method can be told from it."
    close = [row.method for row in rows if row.leads and row is not best]
    if not close:
        return f"{start}; the 95 % intervals of its differences from all others exclude 0."
    return f"{start}; {' and '.join(filter(None, (', '.join(close[:-1]), close[-1])))} can’t be told from it."

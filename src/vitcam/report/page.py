"""One self-contained HTML page about one or several runs, from the templates in ``templates/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vitcam.errors import ReportError
from vitcam.evaluation.columns import main_number
from vitcam.evaluation.measure import TASKS, Number, Task, is_control
from vitcam.evaluation.statistics import RESAMPLES
from vitcam.report import charts, figures
from vitcam.report.about import COUNTS, facts, in_a_line
from vitcam.report.agreement import agreements
from vitcam.report.classes import FEWEST, ClassCard, by_class
from vitcam.report.gallery import GalleryRow, gallery
from vitcam.report.grids import Grid, all_means, measure_grid
from vitcam.report.listing import side_by_side
from vitcam.report.plane import Plane, planes
from vitcam.report.run import Run
from vitcam.report.scores import read_scores
from vitcam.report.tables import ScoreRow, ScoreTable
from vitcam.report.unmoved import unmoved

if TYPE_CHECKING:
    from jinja2 import Environment

COLORS = 8
"""How many colours the page's style has for methods."""

LISTED = 50
"""Images that couldn't be read, which are named one by one."""


def report_page(runs: Sequence[Run], tables: Sequence[ScoreTable]) -> str:
    """The page, as HTML that needs nothing else.

    What the rows name (classes, images, methods) is escaped. Photographs in the gallery are those that the run
    stored, or are read from the dataset if it is still where it was; else they are named.

    Args:
        runs: side by side.
        tables: of these runs, as from ``score_tables``.

    Raises:
        ReportError: a run's curves have different lengths, or Jinja2 isn't installed.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> page = report_page(runs, score_tables(runs))
        >>> page[:15]
        '<!doctype html>'
    """
    environment = page_templates()
    methods = list(dict.fromkeys(name for run in runs for name in run.methods))
    tasks = [task for task in TASKS if any(table.task == task for table in tables)]
    return environment.get_template("page.html").render(
        runs=runs,
        several_runs=len(runs) > 1,
        unmoved=unmoved(tables),
        gaps=[(run, gap) for run in runs for gap in run.gaps],
        methods=methods,
        styles=series_styles(methods, tables[0].reference),
        sections=[_section(task, runs, [table for table in tables if table.task == task]) for task in tasks],
        agreements=agreements(tables),
        resamples=RESAMPLES,
    )


@cache
def page_templates() -> Environment:
    """The templates of the page; whatever they are given is escaped.

    Raises:
        ReportError: Jinja2 isn't installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ReportError(
            "a report's page needs Jinja2, which isn't installed: pip install 'vitcam[eval]', or write the tables "
            "alone with --no-html"
        ) from error
    loader = PackageLoader("vitcam.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("hundredths", "interval", "plain", "signed", "signed_interval", "titled"):
        environment.filters[name] = getattr(figures, name)
    environment.globals |= {
        "charts": charts,
        "counts": COUNTS,
        "facts": facts,
        "fewest": FEWEST,
        "in_a_line": in_a_line,
        "listed": LISTED,
        "page_css": Markup(loader.get_source(environment, "page.css")[0]),  # of ours: not to be escaped
    }
    return environment


@dataclass(frozen=True)
class PageSection:
    """What the page says of a task.

    Attributes:
        task: what was evaluated.
        reference: the method that others are compared with.
        main: the measure that images and classes are ordered by.
        findings: for each run its name, if there are several, and a sentence on the main measure.
        means: all measures at a glance.
        beside: the same with the runs side by side, where there are several.
        planes: of each run that knows what its methods cost.
        plots: of the curves.
        measures: each with how many images it is over, and its table.
        classes: on which the reference and other methods differ most.
        gallery: best, median and worst images.
    """

    task: Task
    reference: str
    main: Number
    findings: Sequence[tuple[str, str]]
    means: Grid
    beside: Grid | None
    planes: Sequence[Plane]
    plots: Sequence[charts.PlotFigure]
    measures: Sequence[tuple[Number, str, Grid]]
    classes: Sequence[ClassCard]
    gallery: Sequence[GalleryRow]

    @property
    def largest_difference(self) -> float:
        """Between two methods on a class, in either direction; 1 if there is none."""
        differences = (abs(each.estimate.mean) for card in self.classes for each in card.differences)
        return max(differences, default=0.0) or 1.0


def _section(task: Task, runs: Sequence[Run], tables: Sequence[ScoreTable]) -> PageSection:
    several_runs = len(runs) > 1
    main, reference = tables[0].measure, tables[0].reference
    scores = [(run, read_scores(run, task, [main.key])) for run in runs if task in run.tasks]
    return PageSection(
        task,
        reference,
        main,
        _findings(tables, several_runs),
        all_means(tables, several_runs),
        side_by_side(tables) if several_runs else None,
        planes(tables[0], runs),
        charts.plot_figures(task, runs, reference),
        [(table.measure, _images(table), measure_grid(table, several_runs)) for table in tables],
        by_class(scores, main, reference),
        gallery(task, scores, main),
    )


def series_styles(methods: Sequence[str], reference: str) -> dict[str, str]:
    """CSS classes by method: the reference stands out, the controls stand back, the others have a colour each.

    Beyond ``COLORS`` methods the colours repeat, with dashes.
    """
    coloured = [name for name in methods if name != reference and not is_control(name)]
    styles = {}
    for i, name in enumerate(methods):
        if name == reference:
            kind = "reference"
        elif name in coloured:
            place = coloured.index(name)
            kind = f"color{place % COLORS} dash{min(place // COLORS, 2)}"
        else:
            kind = f"control {name.split('(')[0]}"
        styles[name] = f"{kind} n{i}"
    return styles


def _images(table: ScoreTable) -> str:
    """How many images a table is over."""
    images = sorted({row.estimate.images for row in table.rows})
    counted = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    return f"{counted} image{'' if images == [1] else 's'}"


def _findings(tables: Sequence[ScoreTable], several_runs: bool) -> list[tuple[str, str]]:
    """The name of each run, if there are several, and a sentence on its main measure."""
    main = next((table for table in tables if table.measure.key == main_number(table.task)), None)
    if main is None:
        return []
    by_run: dict[str, list[ScoreRow]] = {}
    for row in main.rows:
        by_run.setdefault(row.run, []).append(row)
    return [(run if several_runs else "", finding(main, rows)) for run, rows in by_run.items()]


def finding(table: ScoreTable, rows: Sequence[ScoreRow]) -> str:
    """Which method of a run is the best, and what can't be told from it.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> (table,) = score_tables(read_runs(["run"]), metrics=["iou"])
        >>> finding(table, table.rows)
        '... has the highest IoU, 0... (0... – 0...)...'
    """
    best = max(rows, key=lambda row: table.measure.sign * row.estimate.mean)
    named = f"{best.method}, a control," if is_control(best.method) else best.method
    mean, interval = figures.plain(best.estimate.mean), figures.interval(best.estimate)
    extreme = "lowest" if table.measure.sign < 0 else "highest"
    start = f"{named} has the {extreme} {table.measure.title}, {mean} ({interval})"
    if len(rows) == 1:
        return f"{start}; it is the only method."
    if not best.leads:
        return f"{start}, but no method can be told from it."
    close = [row.method for row in rows if row.leads and row is not best]
    if not close:
        return f"{start}; the 95 % intervals of its differences from all others exclude 0."
    return f"{start}; {' and '.join(filter(None, (', '.join(close[:-1]), close[-1])))} can’t be told from it."

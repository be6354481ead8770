"""One self-contained HTML page about one or several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from vitcam.evaluation.measure import TASKS, Task
from vitcam.evaluation.statistics import RESAMPLES
from vitcam.report.markup import Content, Markup, element
from vitcam.report.run import Run
from vitcam.report.scores import read_scores
from vitcam.report.sections.about import about
from vitcam.report.sections.by_class import by_class
from vitcam.report.sections.gallery import gallery
from vitcam.report.sections.parts import series_styles
from vitcam.report.sections.plots import plots
from vitcam.report.sections.results import glance, measure_section
from vitcam.report.tables import ScoreTable

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is fetched and nothing runs, whatever the names in a run say."""

_HOW = (
    f"Intervals are percentile bootstrap intervals of the mean ({RESAMPLES:,} draws of the images). Differences are "
    "paired, image by image; p is that of the two-sided permutation test, corrected for the number of methods in "
    "the table (Holm). Bold: the best, and every method whose difference to it has an interval that includes 0; "
    "nothing is bold where that is so of all. With few images (below 20 or so) bootstrap intervals "
    "are too narrow. random and center are controls: a method that isn’t above them has "
    "found nothing."
)


def report_page(runs: Sequence[Run], tables: Sequence[ScoreTable]) -> str:
    """The page, as HTML that needs nothing else.

    What the rows name (classes, images, methods) is escaped. Photographs in the gallery are those that the run
    stored, or are read from the dataset if it is still where it was; else they are named.

    Args:
        runs: side by side.
        tables: of these runs, as from ``score_tables``.

    Raises:
        ReportError: a run's curves have different lengths.

    Example:
        >>> from vitcam.report import read_runs, score_tables
        >>> runs = read_runs(["run"])
        >>> page = report_page(runs, score_tables(runs))
        >>> page[:15]
        '<!doctype html>'
    """
    tasks = [task for task in TASKS if any(table.task == task for table in tables)]
    methods = list(dict.fromkeys(name for run in runs for name in run.methods))
    styles = series_styles(methods, tables[0].reference)
    title = f"vitcam: {', '.join(run.name for run in runs)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_style(len(methods)))),
    )
    body = element(
        "body",
        _heading(runs),
        _contents(tasks, tables),
        element(
            "main",
            [_task(task, runs, tables, styles) for task in tasks],
            about(runs),
        ),
        element("footer", element("p", _HOW)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _heading(runs: Sequence[Run]) -> Markup:
    gaps = [(run, gap) for run in runs for gap in run.gaps]
    several = len(runs) > 1
    notes = [element("li", f"{run.name}: {gap}" if several else gap) for run, gap in gaps]
    return element(
        "header",
        element("p", "vitcam · Which explanation deserves trust?", class_="kicker"),
        element("h1", " · ".join(run.name for run in runs)),
        [element("p", f"{run.name}: " if several else None, _line(run), class_="quiet") for run in runs],
        element("div", element("b", "Not finished"), element("ul", notes), class_="warning", role="note")
        if notes
        else None,
    )


def _line(run: Run) -> str:
    """A run in a line."""
    settings = run.settings
    images = max(run.counts(task)["images"] for task in run.tasks)
    model, protocol = settings.get("model", {}).get("spec"), settings.get("protocol")
    parts = [
        model,
        settings.get("dataset", {}).get("kind"),
        f"{images:,} images scored",
        f"{len(run.methods)} methods",
        protocol and f"{protocol} protocol",
    ]
    return " · ".join(str(part) for part in parts if part)


def _contents(tasks: Sequence[Task], tables: Sequence[ScoreTable]) -> Markup:
    links = [element("a", task.capitalize(), href=f"#{task}") for task in tasks]
    return element("nav", links, element("a", "What was evaluated", href="#about"), aria_label="Contents")


def _task(task: Task, runs: Sequence[Run], tables: Sequence[ScoreTable], styles: Mapping[str, str]) -> Markup:
    own = [table for table in tables if table.task == task]
    several = len(runs) > 1
    reference = own[0].reference
    main = own[0].measure
    scores = [(run, read_scores(run, task, [main.key])) for run in runs if task in run.tasks]
    drawn = plots(task, runs, styles, reference)
    contents: list[Content] = [
        element("h2", task.capitalize()),
        glance(task, tables, several),
        [element("h3", "Curves"), drawn] if drawn else None,
        element("h3", "Every measure"),
        [measure_section(table, several) for table in own],
        by_class([(run.name if several else None, some) for run, some in scores], main, reference),
        gallery(task, scores, main),
    ]
    return element("section", contents, id=task, aria_label=task.capitalize())


def _style(methods: int) -> str:
    sheet = (files("vitcam.report") / "page.css").read_text(encoding="utf-8")
    pointed = [
        f".plot:has(.legend .n{i}:hover) .panels .series:not(.n{i}){{opacity:.12}}" for i in range(methods)
    ]
    return "\n".join([sheet, *pointed])

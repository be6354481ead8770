"""Each method's best, median and worst image."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.evaluation.rows import Task
from vitcam.report.figures import plain
from vitcam.report.gallery import Example, examples, picture_of
from vitcam.report.markup import Markup, element
from vitcam.report.measures import Measure
from vitcam.report.run import Run
from vitcam.report.scores import Scores


def gallery(task: Task, scores: Sequence[tuple[Run, Scores]], measure: Measure) -> list[Markup]:
    """A row of three per method; images of which there is no picture are named."""
    several_runs = len(scores) > 1
    rows = [
        _row(run, task, method, chosen, measure, several_runs)
        for run, some in scores
        if measure.key in some.numbers
        for method in some.methods
        if (chosen := examples(some, measure.key, method, measure.sign))
    ]
    note = (
        f"Each method’s best, median and worst image by {measure.title}. Heatmaps are shown where the run stored "
        "them, else the photograph alone, or its name."
    )
    return [
        element("h3", "Gallery"),
        element("p", note, class_="meaning"),
        element("div", rows, class_="gallery"),
    ]


def _row(
    run: Run, task: Task, method: str, chosen: Sequence[Example], measure: Measure, several_runs: bool
) -> Markup:
    return element(
        "section",
        element("h4", f"{run.name}: {method}" if several_runs else method),
        element("div", [_example(run, task, method, each, measure) for each in chosen], class_="examples"),
    )


def _example(run: Run, task: Task, method: str, each: Example, measure: Measure) -> Markup:
    name = each.class_name.split(",")[0]
    picture = picture_of(run, task, method, each.image)
    if picture is None:
        shown = element("div", element("span", each.image), class_="no-picture")
    else:
        address, has_map = picture
        what = f"heatmap of {method} over a photograph" if has_map else "photograph"
        shown = element("img", src=address, alt=f"{what}: {name}, {each.image}", loading="lazy")
    return element(
        "figure",
        shown,
        element(
            "figcaption",
            element("span", each.rank, class_="rank"),
            element("b", plain(each.score)),
            element("span", name, class_="quiet", title=f"{each.class_name}, {each.image}, {measure.title}"),
        ),
    )

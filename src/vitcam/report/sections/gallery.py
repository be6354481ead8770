"""Each method's best, median and worst image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from vitcam.evaluation.measure import Number, Task
from vitcam.report.figures import plain
from vitcam.report.gallery import Example, Pictures, examples
from vitcam.report.markup import Markup, element
from vitcam.report.run import Run
from vitcam.report.scores import Scores


def gallery(task: Task, scores: Sequence[tuple[Run, Scores]], measure: Number) -> list[Markup]:
    """A row of three per method; images of which there is no picture are named."""
    several_runs = len(scores) > 1
    rows = []
    for run, some in scores:
        if measure.key not in some.numbers:
            continue
        chosen = {method: examples(some, measure.key, method, measure.sign) for method in some.methods}
        pictures = Pictures(run, task, chain.from_iterable(chosen.values()))
        rows += [
            _row(f"{run.name}: {method}" if several_runs else method, method, shown, pictures, measure)
            for method, shown in chosen.items()
            if shown
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


def _row(title: str, method: str, chosen: Sequence[Example], pictures: Pictures, measure: Number) -> Markup:
    return element(
        "section",
        element("h4", title),
        element("div", [_example(method, each, pictures, measure) for each in chosen], class_="examples"),
    )


def _example(method: str, each: Example, pictures: Pictures, measure: Number) -> Markup:
    name = each.class_name.split(",")[0]
    picture = pictures.of(method, each)
    if picture is None:
        shown = element("div", element("span", each.image), class_="no-picture")
    else:
        address, has_map = picture
        what = f"heatmap of {method} over a photograph" if has_map else "photograph"
        shown = element("img", src=address, alt=f"{what}: {name}, {each.image}", decoding="async")
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

"""The curves: IoU against threshold, probability against what is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitcam.evaluation.measure import Task
from vitcam.report.chart import line_chart
from vitcam.report.curves import MeanCurve, Plot, mean_curves, plots_of
from vitcam.report.figures import plain
from vitcam.report.markup import Markup, element
from vitcam.report.run import Run
from vitcam.report.sections.parts import wide

Panels = Mapping[str, Mapping[str, MeanCurve]]


def plots(task: Task, runs: Sequence[Run], styles: Mapping[str, str], reference: str) -> list[Markup]:
    """Every plot of a task that a run has curves for."""
    figures = []
    for plot in plots_of(task):
        for run in runs:
            panels = {title: mean_curves(run, task, key, plot.axis) for key, title in plot.panels}
            panels = {title: curves for title, curves in panels.items() if curves}
            if panels:
                figures.append(_figure(plot, panels, styles, reference, run.name if len(runs) > 1 else None))
    return figures


def _figure(plot: Plot, panels: Panels, styles: Mapping[str, str], reference: str, run: str | None) -> Markup:
    highest = [
        (curve.high if name == reference else curve.mean).max()
        for curves in panels.values()
        for name, curve in curves.items()
    ]
    title = f"{plot.title}, {run}" if run else plot.title
    charts = [
        element(
            "div",
            element("p", panel, class_="panel-title"),
            line_chart(
                curves,
                styles,
                description=f"{title}. {panel}: {plot.y_title} against {plot.x_title.lower()}. The numbers follow.",
                x_title=plot.x_title,
                y_title=plot.y_title,
                y_range=(0.0, float(max(highest))),
                banded=reference,
            ),
        )
        for panel, curves in panels.items()
    ]
    methods = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    return element(
        "figure",
        element("figcaption", title),
        element("div", charts, class_="panels"),
        legend(methods, styles),
        element("p", f"Shaded: the 95 % interval of {reference}.", class_="meaning")
        if reference in methods
        else None,
        element(
            "details",
            element("summary", "The numbers"),
            [_numbers(panel, plot.x_title, curves) for panel, curves in panels.items()],
        ),
        class_="plot",
    )


def legend(methods: Sequence[str], styles: Mapping[str, str]) -> Markup:
    """Which line is which method's; a method that is pointed at stands out in the plot."""
    swatch = element("line", x1=1, x2=27, y1=6, y2=6, class_="line")
    return element(
        "ul",
        [
            element(
                "li",
                element(
                    "svg",
                    element("g", swatch, class_=f"series {styles[name]}"),
                    viewBox="0 0 28 12",
                    aria_hidden="true",
                ),
                name,
                class_=styles[name].split()[-1],
            )
            for name in methods
        ],
        class_="legend",
    )


def _numbers(panel: str, x_title: str, curves: Mapping[str, MeanCurve]) -> Markup:
    x = next(iter(curves.values())).x
    head = element(
        "tr",
        element("th", x_title, scope="col", class_="name"),
        [element("th", f"{place:.2f}", scope="col") for place in x],
    )
    rows = [
        element(
            "tr",
            element("th", name, scope="row", class_="name"),
            [element("td", plain(float(value))) for value in curve.mean],
        )
        for name, curve in curves.items()
    ]
    table = element(
        "table",
        element("caption", panel),
        element("thead", head),
        element("tbody", rows),
        class_="scores",
    )
    return wide(table, panel)

"""On which classes the reference and each other method differ most."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.evaluation.measure import Number
from vitcam.report.classes import FEWEST, ClassDifference, class_differences
from vitcam.report.figures import signed, signed_interval
from vitcam.report.markup import Content, Markup, element
from vitcam.report.scores import Scores


def by_class(scores: Sequence[tuple[str | None, Scores]], measure: Number, reference: str) -> list[Markup]:
    """A card per method: the classes with the largest differences.

    Args:
        scores: of a task, with the run's name if there are several.
        measure: what is compared.
        reference: minus each other method.
    """
    found = [
        (run, other, differences)
        for run, some in scores
        if reference in some.methods and measure.key in some.numbers
        for other in some.methods
        if other != reference and (differences := class_differences(some, measure.key, reference, other))
    ]
    largest = max((abs(each.estimate.mean) for _, _, listed in found for each in listed), default=0.0) or 1.0
    cards = [_card(run, other, listed, reference, largest) for run, other, listed in found]
    note = (
        f"{measure.title} of {reference} minus that of the other method, on the classes of at least {FEWEST} images "
        "where they differ most, with 95 % intervals. Picked for being extreme, the differences would be smaller "
        "on new images."
    )
    if not found:
        note = f"No class has {FEWEST} images that {reference} and another method were both scored on."
    return [
        element("h3", "By class"),
        element("p", note, class_="meaning"),
        element("div", cards, class_="cards"),
    ]


def _card(
    run: str | None, other: str, differences: Sequence[ClassDifference], reference: str, largest: float
) -> Markup:
    title: Content = [f"{run}: " if run else None, f"{reference} − {other}"]
    return element(
        "section",
        element("h4", title),
        element("ul", [_line(each, largest) for each in differences], class_="differences"),
        class_="card",
    )


def _line(each: ClassDifference, largest: float) -> Markup:
    estimate = each.estimate
    share = 50 * abs(estimate.mean) / largest
    start = 50 - share if estimate.mean < 0 else 50
    bar = element(
        "i", class_="less" if estimate.mean < 0 else "more", style=f"left:{start:.1f}%;width:{share:.1f}%"
    )
    return element(
        "li",
        element("span", each.name.split(",")[0], title=each.name, class_="class"),
        element("span", f"{estimate.images} images", class_="quiet"),
        element("span", bar, class_="bar", aria_hidden="true"),
        element(
            "span", element("b", signed(estimate.mean)), f" ({signed_interval(estimate)})", class_="value"
        ),
    )

"""Line charts as SVG that takes the page's colours and font."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vitcam.report.curves import MeanCurve
from vitcam.report.markup import Markup, element

WIDTH, HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 12, 46
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)


def line_chart(
    curves: Mapping[str, MeanCurve],
    styles: Mapping[str, str],
    *,
    description: str,
    x_title: str,
    y_title: str,
    y_range: tuple[float, float],
    banded: str,
) -> Markup:
    """Mean curves over 0..1.

    Args:
        curves: by name.
        styles: the CSS classes of each.
        description: for people who don't see it.
        x_title, y_title: of the axes.
        y_range: of the vertical axis.
        banded: the curve whose interval is drawn; the others' would hide each other.
    """
    x_ticks = np.arange(0, 1.01, 0.2)
    y_ticks = ticks(*y_range)
    lowest, highest = y_ticks[0], y_ticks[-1]

    def x_of(value: float) -> float:
        return round(_LEFT + value * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(value: float) -> float:
        share = (value - lowest) / (highest - lowest)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    def points(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{x_of(a)},{y_of(b)}" for a, b in zip(x, y, strict=True))

    def drawn(name: str, curve: MeanCurve) -> Markup:
        band = None
        if name == banded:
            outline = f"{points(curve.x, curve.low)} {points(curve.x[::-1], curve.high[::-1])}"
            band = element("polygon", points=outline, class_="band")
        line = element("polyline", points=points(curve.x, curve.mean), class_="line")
        return element("g", element("title", name), band, line, class_=f"series {styles[name]}")

    grid = [element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y_of(y), y2=y_of(y)) for y in y_ticks]
    x_labels = [element("text", f"{x:.1f}", x=x_of(x), y=HEIGHT - 26, text_anchor="middle") for x in x_ticks]
    y_labels = [
        element("text", f"{y:.2f}".replace("-", "−"), x=_LEFT - 8, y=y_of(y) + 4, text_anchor="end")
        for y in y_ticks
    ]
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    titles = [
        element("text", x_title, x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"),
        element("text", y_title, transform=f"translate(12 {middle}) rotate(-90)", text_anchor="middle"),
    ]
    last = sorted(curves, key=lambda name: name == banded)
    return element(
        "svg",
        element("g", grid, class_="grid"),
        element("g", x_labels, y_labels, class_="ticks"),
        element("g", titles, class_="axis-titles"),
        [drawn(name, curves[name]) for name in last],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=description,
    )


def ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers around a range, at most six of them.

    Example:
        >>> ticks(0.12, 0.71)
        [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    for step in _STEPS:
        first, last = np.floor(lowest / step + 1e-9), np.ceil(highest / step - 1e-9)
        if last - first <= 5:
            break
    last = max(last, first + 1)
    return [round(float(i * step), 10) for i in np.arange(first, last + 1)]

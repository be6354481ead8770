"""What several sections are made of."""

from __future__ import annotations

from collections.abc import Sequence

from vitcam.report.markup import Content, Markup, element

CONTROLS = ("random", "center")
COLORS = 8
"""How many colours the page's style has for methods."""


def is_control(method: str) -> bool:
    return method.split("(")[0] in CONTROLS


def wide(content: Content, label: str) -> Markup:
    """Something that scrolls sideways by itself where the screen is narrow; by keyboard too."""
    return element("div", content, class_="wide", tabindex=0, role="region", aria_label=label)


def series_styles(methods: Sequence[str], reference: str) -> dict[str, str]:
    """CSS classes by method: the reference stands out, the controls stand back, the others have a colour each.

    Beyond ``COLORS`` methods the colours repeat, with dashes.
    """
    styles = {}
    others = [name for name in methods if name != reference and not is_control(name)]
    for i, name in enumerate(methods):
        if name == reference:
            kind = "reference"
        elif name in others:
            place = others.index(name)
            kind = f"color{place % COLORS} dash{min(place // COLORS, 2)}"
        else:
            kind = f"control {name.split('(')[0]}"
        styles[name] = f"{kind} n{i}"
    return styles

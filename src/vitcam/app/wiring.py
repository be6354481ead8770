"""What follows when a visitor does something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from vitcam.app.desk import Desk
from vitcam.app.javascript import TO_ANSWERS
from vitcam.app.layout import Apart, Asked, Shown

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RUNNING: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""Events that run a model: one after the other."""
DRAWING: dict[str, Any] = {
    "concurrency_id": "drawing",
    "concurrency_limit": 2,
    **SILENT,
}
"""Events that only draw; they don't wait for models."""
SETTLED: dict[str, Any] = {"trigger_mode": "always_last"}
"""While a slider moves, what counts is where it ends up."""


def connect_shipped(desk: Desk, shipped: Any, photograph: Any) -> None:
    """Choosing one of vitcam's own photographs is like dropping it."""
    shipped.click(lambda index: desk.shipped[index], shipped, photograph, **SILENT)


def connect_classes(desk: Desk, photograph: Any, sides: Sequence[tuple[Asked, Shown]]) -> None:
    """Whatever changes what a model is asked about lists its classes anew."""
    for asked, _ in sides:
        triggers = [photograph.change, asked.spec.change, asked.text.blur]
        if isinstance(asked.wanted, gr.Checkbox):
            triggers.append(asked.wanted.change)
        gr.on(
            triggers,
            desk.rank,
            [asked.wanted, photograph, asked.spec, asked.text, asked.ranking],
            [asked.ranking, asked.ticks],
            show_progress_on=asked.ticks,
            **SETTLED,
            **RUNNING,
        )


def connect_answers(
    desk: Desk,
    button: Any,
    photograph: Any,
    methods: Any,
    drawn: Sequence[Any],
    tabs: Any,
    sides: Sequence[tuple[Asked, Shown]],
) -> None:
    """The button runs the models, one after the other; each is shown as soon as it is done. Sliders only draw."""
    busy = button.click(
        lambda: (gr.update(selected="maps"), gr.update(value="Explaining …", interactive=False)),
        None,
        [tabs, button],
        js=TO_ANSWERS,
        **SILENT,
    )
    for asked, shown in sides:
        run = busy.then(
            desk.explain,
            [asked.wanted, photograph, asked.spec, asked.text, asked.ticks, methods, asked.ranking],
            [shown.answer, asked.ranking, asked.ticks],
            show_progress_on=shown.maps,
            **RUNNING,
        )
        run.success(**_drawing(desk, drawn, shown)).then(**_packing(desk, drawn, shown))
    for finished in (run.success, run.failure):  # `then` is not told of failures (gradio 6.31)
        finished(lambda: gr.update(value="Explain", interactive=True), None, button, **SILENT)
    moved = [control.change for control in drawn]
    for _, shown in sides:
        gr.on(moved, **SETTLED, **_drawing(desk, drawn, shown)).then(**_packing(desk, drawn, shown))


def _drawing(desk: Desk, drawn: Sequence[Any], shown: Shown) -> dict[str, Any]:
    return {
        "fn": desk.draw,
        "inputs": [shown.answer, *drawn],
        "outputs": shown.maps,
        **DRAWING,
    }


def _packing(desk: Desk, drawn: Sequence[Any], shown: Shown) -> dict[str, Any]:
    return {
        "fn": desk.pack,
        "inputs": [shown.answer, shown.folder, *drawn],
        "outputs": [shown.folder, shown.downloads, *shown.files, shown.code],
        **DRAWING,
    }


def connect_layers(
    desk: Desk, tab: Any, apart: Apart, drawn: Sequence[Any], sides: Sequence[tuple[Asked, Shown]]
) -> None:
    """Opening the view, or another class or model there, takes the map apart; switches and sliders only draw."""
    answers = [shown.answer for _, shown in sides]
    gr.on(
        [tab.select, apart.side.input, apart.target.input],
        desk.take_apart,
        [*answers, apart.side, apart.target, apart.state, *drawn],
        [apart.state, apart.side, apart.target, apart.grid, apart.kept, apart.code, apart.layers],
        show_progress_on=apart.kept,
        **RUNNING,
    )
    apart.grid.input(
        desk.switch,
        [apart.state, apart.grid, *drawn],
        [apart.state, apart.kept, apart.code],
        **SETTLED,
        **DRAWING,
    )
    gr.on(
        [control.change for control in drawn],
        desk.draw_apart,
        [apart.state, *drawn],
        [apart.kept, apart.layers],
        **SETTLED,
        **DRAWING,
    )

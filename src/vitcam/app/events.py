"""What follows when a visitor does something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from vitcam.app.components import LayerView, ModelInputs, ModelOutputs
from vitcam.app.handlers import Handlers
from vitcam.app.layer_handlers import LayerHandlers
from vitcam.app.updates import told_once

ModelParts = tuple[ModelInputs, ModelOutputs]

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RUNNING: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 64, **SILENT}
"""Events that run a model. They wait in vitcam's own queue, where they can be told how many are before them."""
DRAWING: dict[str, Any] = {
    "concurrency_id": "drawing",
    "concurrency_limit": 2,
    **SILENT,
}
"""Events that only draw; they don't wait for models."""
SETTLED: dict[str, Any] = {"trigger_mode": "always_last"}
"""While a slider moves, what counts is where it ends up."""


def connect_shipped(handlers: Handlers, shipped: Any, photograph: Any) -> None:
    """Choosing one of vitcam's own photographs is like dropping it."""
    shipped.click(lambda index: handlers.shipped[index], shipped, photograph, **SILENT)


def connect_classes(handlers: Handlers, photograph: Any, sides: Sequence[ModelParts]) -> None:
    """Whatever changes what a model is asked about lists its classes anew."""
    for asked, _ in sides:
        triggers = [photograph.change, asked.spec.change, asked.typed.change]
        if isinstance(asked.wanted, gr.Checkbox):
            triggers.append(asked.wanted.change)
        gr.on(
            triggers,
            told_once(handlers.rank),
            [asked.wanted, photograph, asked.spec, asked.typed, asked.ranking],
            [asked.ranking, asked.ticks, asked.typed],
            **SETTLED,
            **RUNNING,
        )


def connect_answers(
    handlers: Handlers,
    buttons: tuple[Any, Any],
    photograph: Any,
    methods: Any,
    drawn: Sequence[Any],
    tabs: Any,
    status: Any,
    sides: Sequence[ModelParts],
) -> None:
    """One button runs the models, whose maps are shown as they are finished; one ends it. Sliders only draw."""
    start, stop = buttons
    busy = start.click(
        lambda: (
            gr.update(selected="maps"),
            gr.update(value="Explaining …", interactive=False),
            gr.update(value="Stop", interactive=True, visible=True),
        ),
        None,
        [tabs, start, stop],
        js="() => { showAnswers(); return []; }",
        **SILENT,
    )
    asked = [
        part for side, _ in sides for part in (side.wanted, side.spec, side.typed, side.ticks, side.ranking)
    ]
    run = busy.then(
        told_once(handlers.explain),
        [photograph, methods, *drawn, *asked],
        [
            status,
            *(one for side, shown in sides for one in (shown.answer, side.ranking, side.ticks, shown.maps)),
        ],
        **RUNNING,
    )
    stop.click(handlers.stop, None, stop, concurrency_limit=None, concurrency_id="stopping", **SILENT)
    for finished in (run.success, run.failure):  # `then` is not told of failures (gradio 6.31)
        finished(
            lambda: (gr.update(value="Explain", interactive=True), gr.update(visible=False)),
            None,
            [start, stop],
            **SILENT,
        )
        for index, (_, shown) in enumerate(sides):
            finished(**_drawing(handlers, drawn, shown)).then(**_packing(handlers, index, drawn, shown))
    moved = [control.change for control in drawn]
    for index, (_, shown) in enumerate(sides):
        gr.on(moved, **SETTLED, **_drawing(handlers, drawn, shown)).then(
            **_packing(handlers, index, drawn, shown)
        )


def _drawing(handlers: Handlers, drawn: Sequence[Any], shown: ModelOutputs) -> dict[str, Any]:
    return {
        "fn": handlers.draw,
        "inputs": [shown.answer, *drawn],
        "outputs": shown.maps,
        **DRAWING,
    }


def _packing(handlers: Handlers, side: int, drawn: Sequence[Any], shown: ModelOutputs) -> dict[str, Any]:
    def pack(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        return handlers.pack(request, side, *values)

    return {
        "fn": pack,
        "inputs": [shown.answer, *drawn],
        "outputs": [shown.downloads, *shown.files, shown.code],
        **DRAWING,
    }


def connect_layers(
    handlers: LayerHandlers,
    tab: Any,
    apart: LayerView,
    drawn: Sequence[Any],
    sides: Sequence[ModelParts],
) -> None:
    """Opening the view, or another class or model there, takes the map apart; switches and sliders only draw."""
    answers = [shown.answer for _, shown in sides]
    gr.on(
        [tab.select, apart.side.input, apart.target.input],
        told_once(handlers.take_apart),
        [*answers, apart.side, apart.target, apart.state, *drawn],
        [apart.state, apart.side, apart.target, apart.grid, apart.kept, apart.code, apart.layers],
        **RUNNING,
    )
    apart.grid.input(
        handlers.switch,
        [apart.state, apart.grid, *drawn],
        [apart.state, apart.kept, apart.code],
        **SETTLED,
        **DRAWING,
    )
    gr.on(
        [control.change for control in drawn],
        handlers.draw,
        [apart.state, *drawn],
        [apart.kept, apart.layers],
        **SETTLED,
        **DRAWING,
    )

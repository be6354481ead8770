"""The page: what stands where, and what follows when a visitor does something."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vitcam.app.components import Choices, PhotographBox, Ticks
from vitcam.app.desk import HINT, NO_PHOTOGRAPH, Desk, forget
from vitcam.app.head_grid import head_grid
from vitcam.app.policy import Policy
from vitcam.methods import METHODS
from vitcam.photos import PHOTOS
from vitcam.render.overlay import DEFAULT_OPACITY

TITLE = """# vitcam
Where a Vision Transformer looks when it decides."""
FIRST_METHODS = ["agcam", "gradcam", "rollout"]
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

TO_ANSWERS = """() => {
    const [questions, answers] = ['questions', 'answers'].map(id => document.getElementById(id));
    if (answers.getBoundingClientRect().left <= questions.getBoundingClientRect().left) answers.scrollIntoView();
    return [];
}"""
"""On a narrow screen the answers are below the questions, out of sight."""

ON_LOAD = """() => {
    document.addEventListener('paste', event => {
        const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith('image/'));
        const input = document.querySelector('#photograph input[type=file]');
        if (!file || !input) return;
        const files = new DataTransfer();
        files.items.add(file);
        input.files = files.files;
        input.dispatchEvent(new Event('change', {bubbles: true}));
    });
    const names = NAMES;
    document.querySelectorAll('#shipped .gallery-item').forEach((item, i) => {
        item.setAttribute('aria-label', names[i]);
    });
}""".replace("NAMES", json.dumps([name.replace("_", " ") for name in PHOTOS]))
"""A photograph can be pasted anywhere; the shipped ones have names for those who can't see them."""


@dataclass(frozen=True)
class Asked:
    """The inputs about one model, and what is known about its classes."""

    wanted: Any
    spec: Any
    ticks: Any
    text: Any
    ranking: Any


@dataclass(frozen=True)
class Shown:
    """The outputs of one model."""

    answer: Any
    maps: Any
    folder: Any
    downloads: Any
    files: tuple[Any, ...]
    code: Any


def build_page(desk: Desk, policy: Policy) -> gr.Blocks:
    """The whole app, not yet running."""
    with gr.Blocks(
        title="vitcam", analytics_enabled=False, fill_width=True, delete_cache=(600, 7200)
    ) as page:
        gr.Markdown(TITLE, elem_id="title")
        codes = [_code(0), _code(1)]
        with gr.Row():
            with gr.Column(scale=2, min_width=320, elem_id="questions"):
                photograph = _photograph(desk)
                first = _asked(policy, gr.State(True), "Model", policy.specs[0])
                methods = Choices(
                    list(METHODS),
                    value=FIRST_METHODS,
                    multiselect=True,
                    allow_custom_value=policy.trusting,
                    label="Methods",
                    info="Options in brackets: attention(layer=5)" if policy.trusting else None,
                    elem_id="methods",
                )
                comparing = gr.Checkbox(label="Compare with a second model", elem_id="comparing")
                with gr.Column(visible=False) as second_box:
                    second = _asked(policy, comparing, "Second model", policy.specs[-1])
                button = gr.Button("Explain", variant="primary", elem_id="explain")
            with gr.Column(scale=5, min_width=320, elem_id="answers"):
                with gr.Row(elem_id="look"):
                    drawn = _look()
                with gr.Tabs() as tabs:
                    with gr.Tab("Maps", id="maps"), gr.Row():
                        with gr.Column(min_width=300):
                            left = _shown(0, codes[0])
                        with gr.Column(min_width=300, visible=False) as right_box:
                            right = _shown(1, codes[1])
                    with gr.Tab("Layers and heads", id="layers") as layers_tab:
                        apart = _apart()
                    with gr.Tab("Code", id="code"):
                        for code in codes:
                            code.render()
        sides = [(first, left), (second, right)]
        _connect_classes(desk, photograph, sides)
        comparing.change(
            lambda on: (gr.update(visible=on), gr.update(visible=on)),
            comparing,
            [second_box, right_box],
            **SILENT,
        )
        _connect_answers(desk, button, photograph, methods, drawn, tabs, sides)
        _connect_layers(desk, layers_tab, apart, drawn, sides)
        page.load(None, js=ON_LOAD)
    page.queue(max_size=64, api_open=False)
    return page


def _photograph(desk: Desk) -> Any:
    box = PhotographBox(
        type="filepath",
        sources=["upload", "clipboard"],
        label="Photograph: drop, paste or choose",
        height=240,
        buttons=["fullscreen"],
        elem_id="photograph",
    )
    shipped = gr.Dataset(
        components=[box],
        samples=[[path] for path in desk.shipped],
        label="Or one of these",
        type="index",
        elem_id="shipped",
    )
    shipped.click(lambda index: desk.shipped[index], shipped, box, **SILENT)
    return box


def _asked(policy: Policy, wanted: Any, label: str, first: str) -> Asked:
    name = label.lower().replace(" ", "-")
    spec = Choices(
        list(policy.specs),
        value=first,
        allow_custom_value=policy.trusting,
        label=label,
        info="Or type any: timm:NAME, hf:ID, torchvision:NAME, open_clip:ARCH/TAG"
        if policy.trusting
        else None,
        elem_id=name,
    )
    ticks = Ticks(
        choices=[],
        label="Classes to explain",
        info=NO_PHOTOGRAPH,
        elem_id=f"{name}-classes",
        elem_classes="classes",
    )
    text = gr.Textbox(
        label="Other classes, or prompts for a CLIP model",
        placeholder="one per line",
        lines=2,
        max_lines=8,
        elem_id=f"{name}-text",
    )
    return Asked(wanted, spec, ticks, text, gr.State(None))


def _look() -> list[Any]:
    return [
        gr.Slider(0, 1, DEFAULT_OPACITY, step=0.05, label="Opacity", elem_id="opacity", min_width=150),
        gr.Checkbox(label="Boxes", elem_id="boxes", min_width=110),
        gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold of the boxes", elem_id="threshold", min_width=150
        ),
    ]


def _shown(side: int, code: Any) -> Shown:
    maps = gr.HTML(HINT, apply_default_css=False, min_height=200, elem_id=f"maps-{side}")
    with gr.Row(visible=False, elem_classes="downloads") as downloads:
        files = tuple(
            gr.DownloadButton(label, size="sm", min_width=90, elem_id=f"{kind}-{side}")
            for label, kind in (
                ("Picture (PNG)", "panel"),
                ("Maps (npz)", "npz"),
                ("Code (Python)", "script"),
            )
        )
    return Shown(gr.State(None), maps, gr.State(None, delete_callback=forget), downloads, files, code)


def _code(side: int) -> Any:
    return gr.Code(
        "",
        language="python",
        label="Makes the same maps and picture",
        interactive=False,
        visible=False,
        render=False,
        elem_id=f"code-{side}",
    )


@dataclass(frozen=True)
class _Apart:
    state: Any
    side: Any
    target: Any
    grid: Any
    kept: Any
    code: Any
    layers: Any


def _apart() -> _Apart:
    gr.Markdown(
        "AGCAM is a sum over the heads of all layers. The stronger a square's colour, the more of the map "
        "comes from that head. Switch heads off, or whole layers by their names, and see what is left."
    )
    with gr.Row():
        side = gr.Radio([], label="Model", visible=False, elem_id="apart-model")
        target = gr.Radio([], label="Class", visible=False, elem_id="apart-class")
    with gr.Row():
        with gr.Column(min_width=300):
            grid = head_grid()
        with gr.Column(min_width=300):
            kept = gr.HTML(HINT, apply_default_css=False, elem_id="kept")
    layers = gr.HTML("", apply_default_css=False, elem_id="layers")
    with gr.Accordion("Code", open=False):
        code = gr.Code("", language="python", label="Makes the map of those switched on", interactive=False)
    return _Apart(gr.State(None), side, target, grid, kept, code, layers)


def _connect_classes(desk: Desk, photograph: Any, sides: list[tuple[Asked, Shown]]) -> None:
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


def _connect_answers(
    desk: Desk,
    button: Any,
    photograph: Any,
    methods: Any,
    drawn: list[Any],
    tabs: Any,
    sides: list[tuple[Asked, Shown]],
) -> None:
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


def _drawing(desk: Desk, drawn: list[Any], shown: Shown) -> dict[str, Any]:
    return {
        "fn": desk.draw,
        "inputs": [shown.answer, *drawn],
        "outputs": shown.maps,
        **DRAWING,
    }


def _packing(desk: Desk, drawn: list[Any], shown: Shown) -> dict[str, Any]:
    return {
        "fn": desk.pack,
        "inputs": [shown.answer, shown.folder, *drawn],
        "outputs": [shown.folder, shown.downloads, *shown.files, shown.code],
        **DRAWING,
    }


def _connect_layers(
    desk: Desk, tab: Any, apart: _Apart, drawn: list[Any], sides: list[tuple[Asked, Shown]]
) -> None:
    answers = [shown.answer for _, shown in sides]
    gr.on(
        [tab.select, apart.side.input, apart.target.input],
        desk.take_apart,
        [*answers, apart.side, apart.target, apart.state, *drawn],
        [apart.state, apart.side, apart.target, apart.grid, apart.kept, apart.code, apart.layers],
        show_progress_on=apart.kept,
        **RUNNING,
    )
    gr.on(
        [apart.grid.input, *(control.change for control in drawn)],
        desk.switch,
        [apart.state, apart.grid, *drawn],
        [apart.state, apart.kept, apart.code],
        **SETTLED,
        **DRAWING,
    )

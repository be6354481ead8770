"""The page: what stands where."""

from __future__ import annotations

import gradio as gr

from vitcam.app import components, events
from vitcam.app.file_tab import build_file_tab
from vitcam.app.handlers import Handlers
from vitcam.app.layer_handlers import LayerHandlers
from vitcam.app.policy import Policy
from vitcam.app.tabs import PHOTOGRAPHS, TABS

TITLE = """# vitcam
Where a Vision Transformer looks when it decides."""


FIRST_METHODS = ["agcam", "gradcam", "rollout"]

KEPT = 3600
"""Seconds that a file is kept after it was used last, however long its visitor stays."""


def build_page(handlers: Handlers, layer_handlers: LayerHandlers, policy: Policy) -> gr.Blocks:
    """The whole app, not yet running."""
    with gr.Blocks(title="vitcam", analytics_enabled=False, fill_width=True, delete_cache=(60, KEPT)) as page:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Tabs(elem_id="kinds"):
            with gr.Tab(PHOTOGRAPHS.name, id=PHOTOGRAPHS.noun):
                _build_photographs(handlers, layer_handlers, policy)
            if policy.offers_others:
                for tab in TABS.values():
                    with gr.Tab(tab.name, id=tab.noun):
                        build_file_tab(tab, handlers.in_tab(tab), policy)
        page.load(None, js=components.asset("app.js"))
        page.unload(handlers.leave)
    page.queue(max_size=64, api_open=False)
    return page


def _build_photographs(handlers: Handlers, layer_handlers: LayerHandlers, policy: Policy) -> None:
    """The tab that has more than others: two models, boxes, layers and heads."""
    codes = [components.code(0), components.code(1)]
    with gr.Row():
        with gr.Column(scale=2, min_width=320, elem_id="questions", elem_classes="vitcam-questions"):
            with gr.Column(elem_id="form", elem_classes="vitcam-form"):
                photograph, shipped = components.photograph(handlers.shipped)
                first = components.model_inputs(policy, gr.State(True), "Model", policy.specs[0])
                methods = components.methods(policy, FIRST_METHODS)
                comparing = gr.Checkbox(label="Compare with a second model", elem_id="comparing")
                with gr.Column(visible=False) as second_box:
                    second = components.model_inputs(policy, comparing, "Second model", policy.specs[-1])
            button = components.start()
        with gr.Column(scale=5, min_width=320, elem_id="answers", elem_classes="vitcam-answers"):
            with gr.Row(elem_id="look", elem_classes="vitcam-look"):
                drawn = components.look()
            status, stop = components.status()
            with gr.Tabs() as views:
                with gr.Tab("Maps", id="maps"), gr.Row():
                    with gr.Column(min_width=300):
                        left = components.model_outputs(0, codes[0])
                    with gr.Column(min_width=300, visible=False) as right_box:
                        right = components.model_outputs(1, codes[1])
                with gr.Tab("Layers and heads", id="layers") as layers_tab:
                    apart = components.layer_view()
                with gr.Tab("Code", id="code"):
                    for code in codes:
                        code.render()
    sides = [(first, left), (second, right)]
    events.connect_shipped(handlers, shipped, photograph)
    events.connect_classes(handlers, photograph, sides)
    comparing.change(
        lambda on: (gr.update(visible=on), gr.update(visible=on)),
        comparing,
        [second_box, right_box],
        **events.SILENT,
    )
    events.connect_answers(handlers, (button, stop), photograph, methods, drawn, views, status, sides)
    events.connect_layers(layer_handlers, layers_tab, apart, drawn, sides)


def theme() -> gr.themes.Base:
    """gradio's own, with the system's fonts."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.zinc,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # gradio's greys are too pale to be read by everyone
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
    )

"""The page: what stands where."""

from __future__ import annotations

import gradio as gr

from vitcam.app import layout, wiring
from vitcam.app.desk import Desk
from vitcam.app.javascript import ON_LOAD
from vitcam.app.layers_desk import LayersDesk
from vitcam.app.policy import Policy

TITLE = """# vitcam
Where a Vision Transformer looks when it decides."""


KEPT = 3600
"""Seconds that a photograph is kept after it was used last, however long its visitor stays."""


def let_go(page: gr.Blocks, session: str) -> None:
    """Has gradio delete what it keeps of a visitor within a second.

    It does so itself, an hour after the page was closed; only its own thread may, which goes through them all.
    """
    state = page.state_holder.session_data.get(session)
    if state is not None:
        state.is_closed = True
        state.STATE_TTL_WHEN_CLOSED = 0


def build_page(desk: Desk, layers_desk: LayersDesk, policy: Policy) -> gr.Blocks:
    """The whole app, not yet running."""
    with gr.Blocks(title="vitcam", analytics_enabled=False, fill_width=True, delete_cache=(60, KEPT)) as page:
        gr.Markdown(TITLE, elem_id="title")
        codes = [layout.code(0), layout.code(1)]
        with gr.Row():
            with gr.Column(scale=2, min_width=320, elem_id="questions"):
                photograph, shipped = layout.photograph(desk.shipped)
                first = layout.asked(policy, gr.State(True), "Model", policy.specs[0])
                methods = layout.methods(policy)
                comparing = gr.Checkbox(label="Compare with a second model", elem_id="comparing")
                with gr.Column(visible=False) as second_box:
                    second = layout.asked(policy, comparing, "Second model", policy.specs[-1])
                button = gr.Button("Explain", variant="primary", elem_id="explain")
            with gr.Column(scale=5, min_width=320, elem_id="answers"):
                with gr.Row(elem_id="look"):
                    drawn = layout.look()
                status, stop = layout.status()
                with gr.Tabs() as tabs:
                    with gr.Tab("Maps", id="maps"), gr.Row():
                        with gr.Column(min_width=300):
                            left = layout.shown(0, codes[0])
                        with gr.Column(min_width=300, visible=False) as right_box:
                            right = layout.shown(1, codes[1])
                    with gr.Tab("Layers and heads", id="layers") as layers_tab:
                        apart = layout.apart()
                    with gr.Tab("Code", id="code"):
                        for code in codes:
                            code.render()
        sides = [(first, left), (second, right)]
        wiring.connect_shipped(desk, shipped, photograph)
        wiring.connect_classes(desk, photograph, sides)
        comparing.change(
            lambda on: (gr.update(visible=on), gr.update(visible=on)),
            comparing,
            [second_box, right_box],
            **wiring.SILENT,
        )
        wiring.connect_answers(desk, (button, stop), photograph, methods, drawn, tabs, status, sides)
        wiring.connect_layers(layers_desk, layers_tab, apart, drawn, sides)
        page.load(None, js=ON_LOAD)
        page.unload(desk.leave)
    page.queue(max_size=64, api_open=False)
    return page

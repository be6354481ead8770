"""A tab for files of one kind of input, whichever it is."""

from __future__ import annotations

import gradio as gr

from vitcam.app import components, events
from vitcam.app.handlers import Handlers
from vitcam.app.policy import EMBEDDED, Policy
from vitcam.app.tabs import Tab

FIRST_METHODS = ["agcam"]


def build_file_tab(tab: Tab, handlers: Handlers, policy: Policy) -> None:
    """What stands in a tab, and what follows when a visitor does something there.

    Args:
        tab: which it is.
        handlers: of this tab.
        policy: what visitors may do.
    """
    code = components.code(0, tab)
    first = None if policy.specs[0] == EMBEDDED else policy.specs[0]
    with gr.Row():
        with gr.Column(scale=2, min_width=320, elem_classes="vitcam-questions"):
            with gr.Column(elem_classes="vitcam-form"):
                box = components.file_box(tab)
                asked = components.model_inputs(policy, gr.State(True), "Model", first, tab)
                methods = components.methods(policy, FIRST_METHODS, tab)
            button = components.start(tab)
        with gr.Column(scale=5, min_width=320, elem_classes="vitcam-answers"):
            with gr.Row(elem_classes="vitcam-look"):
                drawn = [components.opacity(tab), gr.State(False), gr.State(0.5)]  # without boxes
            status, stop = components.status(tab)
            with gr.Tabs() as views:
                with gr.Tab("Maps", id="maps"):
                    shown = components.model_outputs(0, code, tab)
                with gr.Tab("Code", id="code"):
                    code.render()
    sides = [(asked, shown)]
    events.connect_classes(handlers, box, sides)
    events.connect_answers(handlers, (button, stop), box, methods, drawn, views, status, sides)

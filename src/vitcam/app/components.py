"""The parts of the page: what visitors are asked, and what they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr

from vitcam.app.downloads import kinds_of
from vitcam.app.fields import Choices, FileBox, PhotographBox, Ticks
from vitcam.app.policy import Policy
from vitcam.app.tabs import PHOTOGRAPHS, Tab
from vitcam.app.updates import HINT, NOT_YET, hint
from vitcam.methods import METHODS
from vitcam.render.overlay import DEFAULT_OPACITY


def asset(name: str) -> str:
    """A file of the page that isn't Python: styles, scripts, templates."""
    return (files("vitcam.app") / "static" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class ModelInputs:
    """The inputs about one model, and what is known about its classes."""

    wanted: Any
    spec: Any
    ticks: Any
    typed: Any
    ranking: Any


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of one model."""

    answer: Any
    maps: Any
    downloads: Any
    files: tuple[Any, ...]
    code: Any


@dataclass(frozen=True)
class LayerView:
    """AGCAM by layer and head."""

    state: Any
    side: Any
    target: Any
    grid: Any
    kept: Any
    code: Any
    layers: Any


def photograph(shipped: list[str]) -> tuple[Any, Any]:
    """Where a photograph is dropped, and vitcam's own beside it.

    Args:
        shipped: the files of vitcam's own.
    """
    box = PhotographBox(
        type="filepath",
        sources=["upload", "clipboard"],
        label="Photograph: drop, paste or choose",
        height=240,
        buttons=["fullscreen"],
        elem_id="photograph",
    )
    own = gr.Dataset(
        components=[box],
        samples=[[path] for path in shipped],
        label="Or one of these",
        type="index",
        elem_id="shipped",
    )
    return box, own


def file_box(tab: Tab) -> Any:
    """Where a file of another kind is dropped."""
    # the page compares what is behind the last point alone
    accepted = sorted({f".{ending.rpartition('.')[2]}" for ending in tab.kind.endings})
    box = FileBox(
        file_types=accepted,
        label=f"{tab.noun.capitalize()}: drop or choose",
        height=140,
        elem_id=tab.named("file"),
    )
    endings = f'<p class="vitcam-note vitcam-endings">{" ".join(tab.kind.endings)}</p>'
    gr.HTML(endings, apply_default_css=False, padding=False)
    return box


def methods(policy: Policy, first: list[str], tab: Tab = PHOTOGRAPHS) -> Any:
    """The methods, one beside the other."""
    return Choices(
        list(METHODS),
        value=first,
        multiselect=True,
        allow_custom_value=policy.trusting,
        label="Methods",
        info="Options in brackets: attention(layer=5)" if policy.trusting else None,
        elem_id=tab.named("methods"),
    )


def model_inputs(
    policy: Policy, wanted: Any, label: str, first: str | None, tab: Tab = PHOTOGRAPHS
) -> ModelInputs:
    """The questions about one model.

    Args:
        policy: what visitors may type.
        wanted: the component that says whether this model takes part.
        label: what the model is called on the page.
        first: the model to begin with, if there is one.
        tab: where.
    """
    name = tab.named(label.lower().replace(" ", "-"))
    typing = "Or type any: timm:NAME, hf:ID, torchvision:NAME, open_clip:ARCH/TAG"
    if tab is not PHOTOGRAPHS:
        typing = f"Type one that takes a {tab.noun}: hf:ID, or module:function of your own"
    spec = Choices(
        list(policy.specs),
        value=first,
        allow_custom_value=policy.trusting,
        label=label,
        info=typing if policy.trusting else None,
        elem_id=name,
    )
    ticks = Ticks(
        choices=[],
        label="Classes to explain",
        info=NOT_YET.format(noun=tab.noun),
        elem_id=f"{name}-classes",
        elem_classes="classes",
    )
    typed = Choices(
        [],
        value=[],
        multiselect=True,
        allow_custom_value=True,
        label="Other classes, or prompts for a CLIP model" if tab is PHOTOGRAPHS else "Other classes",
        info="Names are completed as you type. Press Enter after each.",
        elem_id=f"{name}-typed",
        elem_classes="typed",
    )
    return ModelInputs(wanted, spec, ticks, typed, gr.State(None))


def opacity(tab: Tab = PHOTOGRAPHS) -> Any:
    """How opaque the maps are."""
    name = tab.named("opacity")
    return gr.Slider(0, 1, DEFAULT_OPACITY, step=0.05, label="Opacity", elem_id=name, min_width=150)


def look() -> list[Any]:
    """How the maps are drawn: opacity, whether there are boxes, their threshold."""
    return [
        opacity(),
        gr.Checkbox(label="Boxes", elem_id="boxes", min_width=110),
        gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold of the boxes", elem_id="threshold", min_width=150
        ),
    ]


def model_outputs(side: int, code: Any, tab: Tab = PHOTOGRAPHS) -> ModelOutputs:
    """The maps of one model, and what can be taken home. The code stands elsewhere."""
    maps = gr.HTML(hint(tab), apply_default_css=False, min_height=200, elem_id=tab.named(f"maps-{side}"))
    with gr.Row(visible=False, elem_classes="downloads") as downloads:
        files = tuple(
            gr.DownloadButton(label, size="sm", min_width=90, elem_id=tab.named(f"{kind}-{side}"))
            for label, kind in kinds_of(tab)
        )
    return ModelOutputs(gr.State(None), maps, downloads, files, code)


def start(tab: Tab = PHOTOGRAPHS) -> Any:
    """The button that everything waits for."""
    return gr.Button(
        "Explain", variant="primary", elem_id=tab.named("explain"), elem_classes="vitcam-explain"
    )


def status(tab: Tab = PHOTOGRAPHS) -> tuple[Any, Any]:
    """Where it is said what is being done, and the button that ends it."""
    with gr.Row(elem_id=tab.named("busy"), elem_classes="vitcam-busy"):
        said = gr.HTML("", apply_default_css=False, elem_id=tab.named("status"), elem_classes="vitcam-said")
        stop = gr.Button(
            "Stop",
            visible=False,
            elem_id=tab.named("stop"),
            elem_classes="vitcam-stop",
            scale=0,
            min_width=88,
            size="sm",
        )
    return said, stop


def code(side: int, tab: Tab = PHOTOGRAPHS) -> Any:
    """The code of one model's maps, to be rendered where it belongs."""
    return gr.Code(
        "",
        language="python",
        label="Makes the same maps and picture",
        interactive=False,
        visible=False,
        render=False,
        elem_id=tab.named(f"code-{side}"),
    )


def layer_view() -> LayerView:
    """The layer-and-head view."""
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
    return LayerView(gr.State(None), side, target, grid, kept, code, layers)


def head_grid() -> Any:
    """A grid of switches, one per layer and head, coloured by share.

    Its value is what ``Heads.value`` gives, its event ``input`` tells of a switch. A button switches a head, the one
    before a row its whole layer, those above all; arrow keys walk between heads.
    """
    return gr.HTML(
        None,
        html_template=asset("head_grid.html"),
        js_on_load=asset("head_grid.js"),
        apply_default_css=False,
        elem_id="heads",
    )

"""The parts of the page: what visitors are asked, and what they are shown."""

from __future__ import annotations

from abc import ABCMeta
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr

from vitcam.app.photo_files import Upload
from vitcam.app.policy import Policy
from vitcam.app.updates import HINT, NO_PHOTOGRAPH
from vitcam.errors import ImageError
from vitcam.methods import METHODS
from vitcam.render.overlay import DEFAULT_OPACITY

FIRST_METHODS = ["agcam", "gradcam", "rollout"]


def asset(name: str) -> str:
    """A file of the page that isn't Python: styles, scripts, templates."""
    return (files("vitcam.app") / "static" / name).read_text(encoding="utf-8")


class _Component(type(gr.Image)):  # type: ignore[misc]  # gradio's metaclass isn't public
    """gradio's own metaclass writes a ``.pyi`` file beside the source of every component; this one doesn't."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(mcs, name, bases, attributes)


class PhotographBox(gr.Image, metaclass=_Component):
    """Takes a photograph, and gives where it lies and what it is called, without having opened it."""

    is_template = True  # it is drawn as the component that it is derived from

    def preprocess(self, payload: Any) -> Upload | None:
        return None if payload is None else (payload.path, payload.orig_name or "")

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> Any:
        """Raises ImageError for an address: the server fetches nothing for visitors."""
        if "://" in str(url_or_file_path):
            raise ImageError(
                "Only photographs that are dropped, pasted or shipped can be shown, no addresses."
            )
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class Ticks(gr.CheckboxGroup, metaclass=_Component):
    """Ticks of a list that may be replaced while they are on their way; whoever gets them checks them."""

    is_template = True

    def preprocess(self, payload: Any) -> list[str]:
        return [str(value) for value in payload or []]


class Choices(gr.Dropdown, metaclass=_Component):
    """Choices, likewise."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


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


def methods(policy: Policy) -> Any:
    """The methods, one beside the other."""
    return Choices(
        list(METHODS),
        value=FIRST_METHODS,
        multiselect=True,
        allow_custom_value=policy.trusting,
        label="Methods",
        info="Options in brackets: attention(layer=5)" if policy.trusting else None,
        elem_id="methods",
    )


def model_inputs(policy: Policy, wanted: Any, label: str, first: str) -> ModelInputs:
    """The questions about one model.

    Args:
        policy: what visitors may type.
        wanted: the component that says whether this model takes part.
        label: what the model is called on the page.
        first: the model to begin with.
    """
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
    typed = Choices(
        [],
        value=[],
        multiselect=True,
        allow_custom_value=True,
        label="Other classes, or prompts for a CLIP model",
        info="Names are completed as you type. Press Enter after each.",
        elem_id=f"{name}-typed",
        elem_classes="typed",
    )
    return ModelInputs(wanted, spec, ticks, typed, gr.State(None))


def look() -> list[Any]:
    """How the maps are drawn: opacity, whether there are boxes, their threshold."""
    return [
        gr.Slider(0, 1, DEFAULT_OPACITY, step=0.05, label="Opacity", elem_id="opacity", min_width=150),
        gr.Checkbox(label="Boxes", elem_id="boxes", min_width=110),
        gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold of the boxes", elem_id="threshold", min_width=150
        ),
    ]


def model_outputs(side: int, code: Any) -> ModelOutputs:
    """The maps of one model, and what can be taken home. The code stands elsewhere."""
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
    return ModelOutputs(gr.State(None), maps, downloads, files, code)


def status() -> tuple[Any, Any]:
    """Where it is said what is being done, and the button that ends it."""
    with gr.Row(elem_id="busy"):
        said = gr.HTML("", apply_default_css=False, elem_id="status")
        stop = gr.Button("Stop", visible=False, elem_id="stop", scale=0, min_width=88, size="sm")
    return said, stop


def code(side: int) -> Any:
    """The code of one model's maps, to be rendered where it belongs."""
    return gr.Code(
        "",
        language="python",
        label="Makes the same maps and picture",
        interactive=False,
        visible=False,
        render=False,
        elem_id=f"code-{side}",
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

"""gradio's components where vitcam checks what they take itself, and says so in its own words."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr

from vitcam.app.photograph import Upload
from vitcam.errors import ImageError


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
    """A choice, likewise."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload

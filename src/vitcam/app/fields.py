"""Fields of the page, which give what visitors gave as it came: whoever gets it checks it."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr

from vitcam.app.photo_files import Upload
from vitcam.errors import ImageError


class _Component(type(gr.Image)):  # type: ignore[misc]  # gradio's metaclass isn't public
    """gradio's own metaclass writes a ``.pyi`` file beside the source of every component; this one doesn't."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(mcs, name, bases, attributes)


def _uploaded(payload: Any) -> Upload | None:
    """Where a file lies and what it is called, without having opened it."""
    return None if payload is None else (payload.path, payload.orig_name or "")


def _check_no_address(given: Any) -> None:
    """Raises ImageError for an address: the server fetches nothing for visitors."""
    if "://" in str(given):
        raise ImageError("Only files that are dropped, pasted or chosen here can be shown, no addresses.")


class PhotographBox(gr.Image, metaclass=_Component):
    """Takes a photograph."""

    is_template = True  # it is drawn as the component that it is derived from

    def preprocess(self, payload: Any) -> Upload | None:
        return _uploaded(payload)

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> Any:
        """Raises ImageError for an address."""
        _check_no_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class FileBox(gr.File, metaclass=_Component):
    """Takes a file of another kind."""

    is_template = True

    def preprocess(self, payload: Any) -> Upload | None:
        return _uploaded(payload)

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> Any:
        """Raises ImageError for an address."""
        _check_no_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class Ticks(gr.CheckboxGroup, metaclass=_Component):
    """Ticks of a list that may be replaced while they are on their way."""

    is_template = True

    def preprocess(self, payload: Any) -> list[str]:
        return [str(value) for value in payload or []]


class Choices(gr.Dropdown, metaclass=_Component):
    """Choices, likewise."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload

"""Errors as visitors read them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from vitcam.app.markup import paragraphs
from vitcam.errors import VitcamError

_log = logging.getLogger("vitcam.app")

SECONDS = 30
"""How long an error is shown, unless it is closed."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Inside, what vitcam raises on purpose is shown as it is; anything else is logged, and named.

    Raises:
        gr.Error: something was raised.
    """
    try:
        yield
    except gr.Error:
        raise
    except VitcamError as error:
        raise _shown(str(error)) from error
    except MemoryError as error:
        raise _shown("There isn't enough memory for this. Try a smaller model, or fewer classes.") from error
    except Exception as error:
        number = secrets.token_hex(3)
        _log.exception("Unexpected error %s", number)
        raise _shown(
            f"vitcam met an error that it doesn't know ({type(error).__name__}). Another model, method or "
            f"photograph may work. The server's log tells more, under the number {number}."
        ) from error


def _shown(text: str) -> gr.Error:
    return gr.Error(paragraphs(text), duration=SECONDS, print_exception=False)

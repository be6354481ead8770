"""From values and errors to what gradio shows on the page, and back."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import gradio as gr

from vitcam.app.answers import Answer
from vitcam.app.drawing import Look, paragraphs
from vitcam.app.ranking import Case, Ranking
from vitcam.app.tabs import PHOTOGRAPHS, Tab
from vitcam.errors import VitcamError, is_out_of_memory
from vitcam.printable import percent

_log = logging.getLogger("vitcam.app")

ERROR_SECONDS = 30
"""How long an error is shown, unless it is closed."""

NOT_YET = "They are listed once there is a {noun}."
NOTHING_LISTED = "There is nothing to list; the message says why."
NO_TEXTS = "This model compares images with texts: write them below."


def hint(tab: Tab) -> str:
    """What is in the place of maps that there aren't yet."""
    return (
        f'<p class="vitcam-hint">The maps will be here. Choose a {tab.noun}, then press <b>Explain</b>.</p>'
    )


HINT = hint(PHOTOGRAPHS)


def ticks(ranking: Ranking, ticked: Sequence[int], given: Answer | None = None) -> Any:
    """The classes to tick.

    Args:
        ranking: the most probable ones.
        ticked: those that are.
        given: what was explained; its classes, some of which were typed, are listed too.
    """
    named = dict(zip(ranking.classes, zip(ranking.names, ranking.probabilities, strict=True), strict=True))
    if given is not None:
        named |= dict(zip(given.classes, zip(given.names, given.probabilities, strict=True), strict=True))
    choices = [(f"{name} · {percent(share)}", str(index)) for index, (name, share) in named.items()]
    info = NO_TEXTS if ranking.promptable and not choices else ""
    return gr.update(choices=choices, value=[str(index) for index in ticked], info=info)


def completions(ranking: Ranking | None, known: Ranking | None = None) -> Any:
    """The names that are completed as they are typed; of classes of one name, each with its index.

    Args:
        ranking: of the model whose names they are; None: there are none.
        known: the one before, which may have had the same.
    """
    names = ranking.all_names if ranking is not None else ()
    if known is not None and known.all_names == names:
        return gr.skip()
    several = {name for name, count in Counter(names).items() if count > 1}
    return gr.update(
        choices=[
            (f"{name} (class {index})", str(index)) if name in several else name
            for index, name in enumerate(names)
        ]
    )


def indices(ticked: Sequence[str] | None) -> tuple[int, ...]:
    """The classes that a browser says are ticked."""
    return tuple(int(value) for value in ticked or () if value.isdecimal())


def case_of(case: Case, ranking: Ranking) -> Case:
    """The case as a ranking knows it: texts only if they are the model's classes."""
    return case if ranking.promptable else Case(case.file, case.spec)


def look_of(opacity: float, boxes: bool, threshold: float) -> Look:
    """How maps are drawn, as a browser says it."""
    return Look(float(opacity), bool(boxes), float(threshold))


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
    except Exception as error:
        if is_out_of_memory(error):
            raise _shown(
                "There isn't enough memory for this. Try a smaller model, or fewer classes."
            ) from error
        number = secrets.token_hex(3)
        _log.exception("Unexpected error %s", number)
        raise _shown(
            f"vitcam met an error that it doesn't know ({type(error).__name__}). Another model, method or "
            f"file may work. The server's log tells more, under the number {number}."
        ) from error


def told_once(handler: Callable[..., Iterator[Sequence[Any]]]) -> Callable[..., Iterator[Sequence[Any]]]:
    """A handler whose last values reach the page once.

    At the end of a generator gradio sends what it yielded last again (6.31), and what a visitor has changed in the
    meantime would be put back.
    """

    @wraps(handler)
    def told(*args: Any) -> Iterator[Sequence[Any]]:
        last: Sequence[Any] = ()
        for last in handler(*args):
            yield last
        yield [gr.skip() for _ in last]

    return told


def _shown(text: str) -> gr.Error:
    return gr.Error(paragraphs(text), duration=ERROR_SECONDS, print_exception=False)

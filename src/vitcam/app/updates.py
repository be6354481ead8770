"""From values to what gradio sets on the page, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from vitcam.app.answering import Answer
from vitcam.app.drawing import Look
from vitcam.app.ranking import Ranking, Subject
from vitcam.printable import percent

HINT = '<p class="vitcam-hint">The maps will be here. Choose a photograph, then press <b>Explain</b>.</p>'
NO_PHOTOGRAPH = "They are listed once there is a photograph."
NOTHING_LISTED = "There is nothing to list; the message says why."
NO_TEXTS = "This model compares images with texts: write them below."


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


def indices(ticked: Sequence[str] | None) -> tuple[int, ...]:
    """The classes that a browser says are ticked."""
    return tuple(int(value) for value in ticked or () if value.isdecimal())


def subject_of(subject: Subject, ranking: Ranking) -> Subject:
    """The subject as a ranking knows it: texts only if they are the model's classes."""
    return subject if ranking.promptable else Subject(subject.photograph, subject.spec)


def look_of(opacity: float, boxes: bool, threshold: float) -> Look:
    """How maps are drawn, as a browser says it."""
    return Look(float(opacity), bool(boxes), float(threshold))

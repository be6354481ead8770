"""What happens in the layer-and-head view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vitcam.app.answers import Answer
from vitcam.app.downloads import layers_script
from vitcam.app.drawing import kept_html, layers_html, status_html
from vitcam.app.layers import Heads, heads_of, take_apart
from vitcam.app.model_cache import ModelCache
from vitcam.app.policy import Policy
from vitcam.app.queue import Stopped, Ticket, relayed
from vitcam.app.sessions import Sessions
from vitcam.app.updates import HINT, look_of, readable_errors
from vitcam.errors import VitcamError
from vitcam.explaining import Decomposition

TAKING_APART = "taking apart"
"""A kind of work."""


@dataclass(frozen=True, eq=False)
class TakenApart:
    """An answer's map by layer and head, and which of them one visitor has switched on."""

    of: Answer
    parts: Decomposition
    heads: Heads


class LayerHandlers:
    """Answers visitors.

    Args:
        cache: the models.
        policy: what visitors may do.
        sessions: who is here.
    """

    def __init__(self, cache: ModelCache, policy: Policy, sessions: Sessions) -> None:
        self._cache = cache
        self._policy = policy
        self._sessions = sessions

    def take_apart(
        self,
        request: gr.Request,
        first: Answer | None,
        second: Answer | None,
        side: int,
        target: int,
        known: TakenApart | None,
        opacity: float,
        boxes: bool,
        threshold: float,
    ) -> Iterator[tuple[Any, ...]]:
        """AGCAM by layer and head: (state, models, classes, grid of switches, the map, code, each layer's map)."""
        answers = [given for given in (first, second) if given is not None]
        if not answers:
            yield None, gr.update(visible=False), gr.update(visible=False), None, HINT, "", ""
            return
        session = str(request.session_hash)
        with readable_errors(), self._sessions.working(session, TAKING_APART) as stop:
            given = answers[side if side in range(len(answers)) else 0]
            target = target if target in range(len(given.classes)) else 0
            parts = known.parts if known is not None and known.of is given else None
            if parts is None:
                self._sessions.uses(session, given.case.file.path)
                yield *[gr.skip()] * 4, status_html("Taking the map apart", 0), "", ""
                try:
                    for step in relayed(
                        lambda tell: iter(
                            [take_apart(given, self._cache, self._policy, Ticket(session, tell, stop))]
                        )
                    ):
                        if isinstance(step, str):
                            yield *[gr.skip()] * 4, status_html(step, 0), gr.skip(), gr.skip()
                        else:
                            parts = step
                except Stopped:  # the visitor has left
                    return
                except VitcamError:
                    yield None, *[gr.skip()] * 2, None, "", "", ""
                    raise
            assert parts is not None
            apart = TakenApart(given, parts, heads_of(parts, target))
            drawn = look_of(opacity, boxes, threshold)
            yield (
                apart,
                gr.update(
                    choices=[(one.case.spec, index) for index, one in enumerate(answers)],
                    value=answers.index(given),
                    visible=len(answers) > 1,
                ),
                gr.update(
                    choices=[(name, index) for index, name in enumerate(given.names)],
                    value=target,
                    visible=True,
                ),
                apart.heads.value(),
                kept_html(given, parts, apart.heads, drawn),
                layers_script(given, apart.heads),
                layers_html(given, parts, apart.heads, drawn),
            )

    def draw(
        self, apart: TakenApart | None, opacity: float, boxes: bool, threshold: float
    ) -> tuple[str, str]:
        """The view in another look: (the map, each layer's map). No model runs."""
        if apart is None:
            return HINT, ""
        with readable_errors():
            drawn = look_of(opacity, boxes, threshold)
            return (
                kept_html(apart.of, apart.parts, apart.heads, drawn),
                layers_html(apart.of, apart.parts, apart.heads, drawn),
            )

    def switch(
        self, apart: TakenApart | None, sent: Any, opacity: float, boxes: bool, threshold: float
    ) -> tuple[Any, str, str]:
        """The map of the heads that are switched on: (state, the map, code). No model runs."""
        if apart is None:
            return None, HINT, ""
        with readable_errors():
            now = TakenApart(apart.of, apart.parts, apart.heads.switched(sent))
            html = kept_html(now.of, now.parts, now.heads, look_of(opacity, boxes, threshold))
            return now, html, layers_script(now.of, now.heads)

"""What happens when a visitor does something: from the page's inputs to its outputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from vitcam.app.answers import Answer, Question, answer, look
from vitcam.app.downloads import kinds_of, write_downloads
from vitcam.app.drawing import Look, status_html
from vitcam.app.figures import answer_html
from vitcam.app.input_files import given_file
from vitcam.app.model_cache import ModelCache
from vitcam.app.photo_files import Upload
from vitcam.app.policy import Policy, texts_of
from vitcam.app.queue import Stop, Stopped, Ticket, relayed
from vitcam.app.ranking import Case, Ranking
from vitcam.app.sessions import Sessions
from vitcam.app.tabs import PHOTOGRAPHS, Tab
from vitcam.app.updates import (
    NOT_YET,
    NOTHING_LISTED,
    case_of,
    completions,
    hint,
    indices,
    look_of,
    readable_errors,
    ticks,
)
from vitcam.errors import TargetError, VitcamError
from vitcam.photos import PHOTOS, photo_path

RANKING, EXPLAINING = "ranking", "explaining"
"""Kinds of work."""


@dataclass(frozen=True)
class Side:
    """What is asked about one of the two models, as it comes from the page."""

    wanted: bool
    spec: str
    typed: Sequence[str]
    ticked: Sequence[str]
    known: Ranking | None


class Handlers:
    """Answers visitors in one tab. What belongs to one is in the page's session.

    Args:
        cache: the models.
        policy: what visitors may do.
        files: the folder for files to download, which the server may serve.
    """

    def __init__(self, cache: ModelCache, policy: Policy, files: Path) -> None:
        self._cache = cache
        self._policy = policy
        self._files = files
        self._tab = PHOTOGRAPHS
        self.shipped = [str(shutil.copy(photo_path(name), files)) for name in PHOTOS]
        """Copies of vitcam's own photographs, where the server may serve them."""
        self.sessions = Sessions(files, keep=tuple(map(Path, self.shipped)))

    def in_tab(self, tab: Tab) -> Handlers:
        """Those of the same visitors in another tab."""
        others = copy(self)
        others._tab = tab
        return others

    def rank(
        self,
        request: gr.Request,
        wanted: bool,
        upload: Upload | None,
        spec: str,
        typed: Sequence[str],
        known: Ranking | None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """The most probable classes, to be ticked: (ranking, the ticks, what can be typed besides)."""
        session = str(request.session_hash)
        if not upload:
            self.sessions.is_news(session, "")  # whatever is wrong with the next one is
        if not (wanted and upload):
            yield None, gr.update(choices=[], value=[], info=NOT_YET.format(noun=self._tab.noun)), gr.skip()
            return
        with readable_errors(), self.sessions.working(session, RANKING) as stop:
            case: Case | None = None
            try:
                case = self._case(session, upload, spec, typed)
                if known is not None and known.case == case_of(case, known):
                    # one that yields nothing at all would, for gradio, have yielded None
                    yield gr.skip(), gr.skip(), gr.skip()
                    return
                # the ticks of others meant something else
                yield None, gr.update(choices=[], value=[], info="Looking …"), gr.skip()
                question = Question(case, ())
                for step in relayed(
                    lambda tell: iter(
                        [look(question, self._cache, self._policy, Ticket(session, tell, stop))]
                    )
                ):
                    if isinstance(step, str):
                        yield gr.skip(), gr.update(info=f"{step} …"), gr.skip()
                    else:
                        self.sessions.is_news(session, "")  # whatever is wrong with the next one is
                        yield step, ticks(step, step.first_choice), completions(step, known)
            except Stopped:  # the visitor has left
                return
            except VitcamError as error:
                failed = None if case is None else Ranking(case, False, (), (), ())
                yield failed, gr.update(choices=[], value=[], info=NOTHING_LISTED), completions(failed, known)
                if self.sessions.is_news(session, str(error)):
                    raise

    def explain(
        self,
        request: gr.Request,
        upload: Upload | None,
        methods: list[str],
        opacity: float,
        boxes: bool,
        threshold: float,
        *asked: Any,
    ) -> Iterator[list[Any]]:
        """The maps of all models as they are finished: the status; and of each side answer, ranking, ticks, maps.

        Args:
            request: who asks.
            upload: the file.
            methods: the methods' names.
            opacity, boxes, threshold: how maps are drawn.
            asked: what is asked about each side, one after the other.
        """
        size = len(Side.__dataclass_fields__)
        sides = [Side(*asked[start : start + size]) for start in range(0, len(asked), size)]
        session = str(request.session_hash)
        problems = []
        with readable_errors(), self.sessions.working(session, self._explaining) as stop:
            for index, side in enumerate(sides):
                before, after = [gr.skip()] * (4 * index), [gr.skip()] * (4 * (len(sides) - index - 1))
                if not side.wanted:
                    yield ["", *before, None, gr.skip(), gr.skip(), hint(self._tab), *after]
                    continue
                try:
                    drawn = look_of(opacity, boxes, threshold)
                    for status, shown in self._explain(upload, methods, side, drawn, session, stop):
                        yield [status, *before, *(shown or [gr.skip()] * 4), *after]
                except VitcamError as error:  # the other model may work
                    problems.append(error)
                except Stopped:
                    yield [
                        status_html("Stopped. What was finished is kept."),
                        *[gr.skip()] * (4 * len(sides)),
                    ]
                    return
            yield ["", *[gr.skip()] * (4 * len(sides))]
            if problems:
                raise VitcamError("\n".join(dict.fromkeys(map(str, problems))))

    def _explain(
        self,
        upload: Upload | None,
        methods: Sequence[str],
        side: Side,
        drawn: Look,
        session: str,
        stop: Stop,
    ) -> Iterator[tuple[str, list[Any] | None]]:
        """The status, and what is shown of one side where that is new."""
        case = self._case(session, upload, side.spec, side.typed)
        # ticks of another photograph, model or text mean other classes
        valid = side.known is not None and side.known.case == case_of(case, side.known)
        question = Question(case, tuple(methods or ()), indices(side.ticked) if valid else ())
        given: Answer | None = None
        yield status_html("Explaining", 0, len(question.methods)), None
        try:
            for step in relayed(
                lambda tell: answer(question, self._cache, self._policy, Ticket(session, tell, stop))
            ):
                if isinstance(step, str):
                    done = len(question.methods) - given.pending if given else 0
                    yield status_html(step, done, len(question.methods)), None
                    continue
                # the visitor may have ticked something else since
                listed = ticks(step.ranking, step.classes, step) if given is None else gr.skip()
                given = step
                yield gr.skip(), [given, given.ranking, listed, answer_html(given, drawn)]
        except (Stopped, Exception):  # whatever it was, nothing is to come any more
            if given is not None:
                given = given.finished
                yield gr.skip(), [given, given.ranking, gr.skip(), answer_html(given, drawn)]
            raise
        if given is not None and given.wrong_classes:
            raise TargetError("\n".join(given.wrong_classes))

    def stop(self, request: gr.Request) -> Any:
        """A visitor doesn't want to wait for the maps."""
        self.sessions.stop(str(request.session_hash), self._explaining)
        return gr.update(value="Stopping …", interactive=False)

    def leave(self, request: gr.Request) -> None:
        """A visitor's page is closed."""
        self.sessions.leave(str(request.session_hash))

    def draw(self, given: Answer | None, opacity: float, boxes: bool, threshold: float) -> str:
        """The grid of maps. No model runs."""
        if given is None:
            return hint(self._tab)
        with readable_errors():
            return answer_html(given, look_of(opacity, boxes, threshold))

    def pack(
        self,
        request: gr.Request,
        side: int,
        given: Answer | None,
        opacity: float,
        boxes: bool,
        threshold: float,
    ) -> tuple[Any, ...]:
        """What can be taken home: (row of buttons, their files, the code as text)."""
        session, place = str(request.session_hash), self._tab.named(str(side))
        if given is None:
            self.sessions.packs(session, place, None)
            nothing = [None] * len(kinds_of(self._tab))
            return gr.update(visible=False), *nothing, gr.update(value="", visible=False)
        with readable_errors():
            drawn = look_of(opacity, boxes, threshold)
            folder = Path(tempfile.mkdtemp(dir=self._files))
            self.sessions.packs(session, place, folder)
            files, code = write_downloads(given, drawn, folder)
            return gr.update(visible=True), *map(str, files), gr.update(value=code, visible=True)

    @property
    def _explaining(self) -> str:
        return self._tab.named(EXPLAINING)

    def _case(self, session: str, upload: Upload | None, spec: str, typed: Sequence[str]) -> Case:
        shown = given_file(upload, self._tab)
        self.sessions.uses(session, shown.path)
        chosen = self._policy.checked_model(spec, self._tab.noun)
        return Case(shown, chosen, texts_of(typed))

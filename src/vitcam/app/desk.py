"""What happens when a visitor does something: from the page's inputs to its outputs."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from vitcam.app.answering import Answer, Question, Tell, answer, look, take_apart
from vitcam.app.drawing import Look, grid, percent
from vitcam.app.heads import Heads, heads_of
from vitcam.app.markup import kept_html, layers_html, maps_html
from vitcam.app.photograph import photograph
from vitcam.app.policy import Policy, lines_of
from vitcam.app.problems import readable_errors
from vitcam.app.ranking import Ranking, Subject
from vitcam.app.saving import maps_npz, png
from vitcam.app.script import layers_script, script
from vitcam.app.shelf import ModelShelf
from vitcam.decomposing import Decomposition
from vitcam.photos import PHOTOS, photo_path

HINT = '<p class="vitcam-hint">The maps will be here. Choose a photograph, then press <b>Explain</b>.</p>'

NO_PHOTOGRAPH = "They are listed once there is a photograph."
NO_TEXTS = "This model compares images with texts: write them below."


@dataclass(frozen=True, eq=False)
class Apart:
    """An answer's map by layer and head, and which of them one visitor has switched on."""

    of: Answer
    parts: Decomposition
    heads: Heads


class Desk:
    """Answers visitors. It keeps nothing about them: what belongs to one is in the page's session.

    Args:
        shelf: the models.
        policy: what visitors may do.
        files: the folder for files to download, which the server may serve.
    """

    def __init__(self, shelf: ModelShelf, policy: Policy, files: Path) -> None:
        self._shelf = shelf
        self._policy = policy
        self._files = files
        self.shipped = [str(shutil.copy(photo_path(name), files)) for name in PHOTOS]
        """Copies of vitcam's own photographs, where the server may serve them."""

    def rank(
        self,
        wanted: bool,
        path: str | None,
        spec: str,
        text: str,
        known: Ranking | None,
        progress: Tell = gr.Progress(),  # noqa: B008  this is how gradio is asked for it
    ) -> tuple[Any, Any]:
        """The most probable classes, to be ticked: (ranking, the ticks)."""
        if not (wanted and path):
            return None, gr.update(choices=[], value=[], info=NO_PHOTOGRAPH)
        with readable_errors():
            subject = Subject(photograph(path), self._policy.checked_model(spec), lines_of(text))
            if known is not None and known.subject == _subject_of(subject, known):
                return gr.skip(), gr.skip()
            ranking = look(Question(subject, ()), self._shelf, self._policy, progress)
            return ranking, _ticks(ranking, ranking.first_choice)

    def explain(
        self,
        wanted: bool,
        path: str | None,
        spec: str,
        text: str,
        ticked: list[str],
        methods: list[str],
        known: Ranking | None,
        progress: Tell = gr.Progress(),  # noqa: B008  this is how gradio is asked for it
    ) -> tuple[Any, Any, Any]:
        """The maps: (answer, ranking, the ticks)."""
        if not wanted:
            return None, gr.skip(), gr.skip()
        with readable_errors():
            subject = Subject(photograph(path), self._policy.checked_model(spec), lines_of(text))
            # ticks of another photograph, model or text mean other classes
            valid = known is not None and known.subject == _subject_of(subject, known)
            question = Question(subject, tuple(methods or ()), _indices(ticked) if valid else ())
            given = answer(question, self._shelf, self._policy, progress)
            return given, given.ranking, _ticks(given.ranking, given.classes, given)

    def draw(self, given: Answer | None, opacity: float, boxes: bool, threshold: float) -> str:
        """The grid of maps. No model runs."""
        if given is None:
            return HINT
        with readable_errors():
            return maps_html(given, _look(opacity, boxes, threshold))

    def pack(
        self, given: Answer | None, before: Path | None, opacity: float, boxes: bool, threshold: float
    ) -> tuple[Any, ...]:
        """What can be taken home: (folder, row of buttons, panel, maps, code, the code as text).

        Args:
            given: what is packed.
            before: the folder of what was packed before; it is deleted, so that a visitor never has two.
            opacity, boxes, threshold: how it is drawn.
        """
        forget(before)
        if given is None:
            return None, gr.update(visible=False), None, None, None, gr.update(value="", visible=False)
        with readable_errors():
            drawn = _look(opacity, boxes, threshold)
            code = script(given, drawn)
            stem = _file_name(f"{Path(given.subject.photograph.name).stem}.{given.subject.spec}")
            folder = Path(tempfile.mkdtemp(dir=self._files))
            contents = {"png": png(grid(given, drawn)), "npz": maps_npz(given), "py": code.encode()}
            for suffix, content in contents.items():
                (folder / f"{stem}.{suffix}").write_bytes(content)
            files = [str(folder / f"{stem}.{suffix}") for suffix in contents]
            return folder, gr.update(visible=True), *files, gr.update(value=code, visible=True)

    def take_apart(
        self,
        first: Answer | None,
        second: Answer | None,
        side: int,
        target: int,
        known: Apart | None,
        opacity: float,
        boxes: bool,
        threshold: float,
        progress: Tell = gr.Progress(),  # noqa: B008  this is how gradio is asked for it
    ) -> tuple[Any, ...]:
        """AGCAM by layer and head: (state, models, classes, grid of switches, the map, code, each layer's map)."""
        answers = [given for given in (first, second) if given is not None]
        if not answers:
            return None, gr.update(visible=False), gr.update(visible=False), None, HINT, "", ""
        with readable_errors():
            given = answers[side if side in range(len(answers)) else 0]
            target = target if target in range(len(given.classes)) else 0
            if known is None or known.of is not given:
                parts = take_apart(given, self._shelf, self._policy, progress)
            else:
                parts = known.parts
            apart = Apart(given, parts, heads_of(parts, target))
            drawn = _look(opacity, boxes, threshold)
            return (
                apart,
                gr.update(
                    choices=[(one.subject.spec, index) for index, one in enumerate(answers)],
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

    def draw_apart(
        self, apart: Apart | None, opacity: float, boxes: bool, threshold: float
    ) -> tuple[str, str]:
        """The layer-and-head view in another look: (the map, each layer's map). No model runs."""
        if apart is None:
            return HINT, ""
        with readable_errors():
            drawn = _look(opacity, boxes, threshold)
            return (
                kept_html(apart.of, apart.parts, apart.heads, drawn),
                layers_html(apart.of, apart.parts, apart.heads, drawn),
            )

    def switch(
        self, apart: Apart | None, sent: Any, opacity: float, boxes: bool, threshold: float
    ) -> tuple[Any, str, str]:
        """The map of the heads that are switched on: (state, the map, code). No model runs."""
        if apart is None:
            return None, HINT, ""
        with readable_errors():
            now = Apart(apart.of, apart.parts, apart.heads.switched(sent))
            html = kept_html(now.of, now.parts, now.heads, _look(opacity, boxes, threshold))
            return now, html, layers_script(now.of, now.heads)


def forget(folder: Path | None) -> None:
    """Deletes a folder of files to download."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _subject_of(subject: Subject, ranking: Ranking) -> Subject:
    return subject if ranking.promptable else Subject(subject.photograph, subject.spec)


def _ticks(ranking: Ranking, ticked: Any, given: Answer | None = None) -> Any:
    named = dict(zip(ranking.classes, zip(ranking.names, ranking.probabilities, strict=True), strict=True))
    if given is not None:  # what was typed isn't necessarily among the most probable
        named |= dict(zip(given.classes, zip(given.names, given.probabilities, strict=True), strict=True))
    choices = [(f"{name} · {percent(share)}", str(index)) for index, (name, share) in named.items()]
    info = NO_TEXTS if ranking.promptable and not choices else ""
    return gr.update(choices=choices, value=[str(index) for index in ticked], info=info)


def _indices(ticked: list[str]) -> tuple[int, ...]:
    return tuple(int(value) for value in ticked if value.isdecimal())


def _look(opacity: float, boxes: bool, threshold: float) -> Look:
    return Look(float(opacity), bool(boxes), float(threshold))


def _file_name(text: str) -> str:
    """Only what is harmless in a file's name.

    Example:
        >>> _file_name("cat.timm:vit@/home/me/w.pth")
        'cat.timm-vit-home-me-w.pth'
    """
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[-120:] or "vitcam"

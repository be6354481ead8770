"""Files of every kind of input in the app, each in its tab."""

import io
import re
import sys
from base64 import b64decode
from html import unescape

import gradio as gr
import numpy as np
import own_models
import pytest
import torch
from own_models import own_model, write
from PIL import Image

import vitcam
from input_files import tone, write_sound
from vitcam.app.handlers import Handlers
from vitcam.app.layer_handlers import LayerHandlers
from vitcam.app.model_cache import ModelCache
from vitcam.app.page import build_page
from vitcam.app.policy import policy_for
from vitcam.app.tabs import PHOTOGRAPHS, TABS
from vitcam.inputs import KINDS
from vitcam.photos import photo_path

ME = gr.Request(session_hash="me")
every_kind = pytest.mark.parametrize("kind", list(KINDS))


class Visit:
    """One visitor, in any tab."""

    def __init__(self, folder, **policy):
        self.policy = policy_for("127.0.0.1", [], **policy)
        self.cache = ModelCache(own_models.load, room=2)
        self.photographs = Handlers(self.cache, self.policy, folder)

    def handlers(self, kind):
        return self.photographs if kind is None else self.photographs.in_tab(TABS[kind])

    def rank(self, kind, upload, spec):
        """(ranking, what can be ticked)"""
        *_, (ranking, ticks, _) = self.handlers(kind).rank(ME, True, upload, spec, [], None)
        return ranking, ticks

    def explain(self, kind, upload, spec, methods=("agcam",), ticked=(), known=None):
        """The answer, and what is shown of it."""
        asked = (True, spec, [], list(ticked), known)
        steps = self.handlers(kind).explain(ME, upload, list(methods), 0.5, False, 0.5, *asked)
        found = [(step[1], step[4]) for step in steps if hasattr(step[1], "explanations")]
        return found[-1]

    def said(self, kind, upload, spec):
        """The errors of both."""
        texts = []
        for ask in (self.rank, self.explain):
            with pytest.raises(gr.Error) as caught:
                ask(kind, upload, spec)
            texts.append(unescape(caught.value.message))
            self.photographs.sessions.is_news("me", "")
        assert texts[0] == texts[1]
        return texts[0]


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path)


def upload(path, name=None):
    return str(path), name or path.name


def shown(html):
    """The pictures in a piece of HTML."""
    found = re.findall(r'src="data:image/\w+;base64,([^"]*)"', html)
    return [Image.open(io.BytesIO(b64decode(each))) for each in found]


def test_every_kind_of_input_has_a_tab_with_its_endings(visit, tmp_path):
    assert set(TABS) == set(KINDS)
    assert [tab.kind for tab in TABS.values()] == [KINDS[name] for name in TABS]
    handlers = visit.photographs
    layers = LayerHandlers(visit.cache, visit.policy, handlers.sessions)
    config = build_page(handlers, layers, visit.policy).get_config_file()
    props = [one["props"] for one in config["components"]]
    labels = [one["label"] for one in props if one.get("id") in (PHOTOGRAPHS.noun, *KINDS)]
    assert labels == ["Photograph", "Video", "Sound", "Volume", "Bands"]
    boxes = {one["elem_id"]: one["file_types"] for one in props if "file_types" in one}
    assert set(boxes) == {f"{kind}-file" for kind in KINDS}
    for kind in KINDS.values():
        last = {f".{ending.rpartition('.')[2]}" for ending in (*kind.suffixes, *kind.also)}
        assert set(boxes[f"{kind.name}-file"]) == last
    public = policy_for("0.0.0.0", [])  # offers the embedded model alone
    config = build_page(handlers, layers, public).get_config_file()
    assert not [one for one in config["components"] if "file_types" in one["props"]]


@every_kind
def test_a_file_gives_a_figure_and_scores_that_are_those_of_explain(visit, tmp_path, kind):
    path, model = write(kind, tmp_path), own_model(kind)
    ranking, ticks = visit.rank(kind, upload(path, f"my {path.name}"), f"own_models:{kind}")
    both = vitcam.compare(model, path, ["agcam", "gae"], [[1, 0]])
    scores = both["agcam"].probabilities[0]
    assert ranking.probabilities == pytest.approx(sorted(scores.tolist(), reverse=True), rel=1e-4)
    assert ranking.classes[0] == int(scores.argmax())
    assert ticks["value"] == [str(ranking.classes[0])]
    given, html = visit.explain(
        kind, upload(path, f"my {path.name}"), f"own_models:{kind}", ["agcam", "gae"], ["1", "0"], ranking
    )
    for name, one in both.items():
        found = given.explanations[name]
        assert (found.kind, found.names) == (kind, ("",))
        torch.testing.assert_close(found.heatmaps, one.heatmaps, rtol=1e-4, atol=1e-6)
    expected = vitcam.figure(both, photo_label=f"my {path.name}", notes=[f"own_models:{kind}"], opacity=0.5)
    figure, *moving = shown(html)
    assert figure.size == expected.size
    assert np.abs(np.asarray(figure, float) - np.asarray(expected, float)).mean() < 4  # it is a JPEG
    assert f"my {path.name}: maps by agcam, gae for right, left &lt;b&gt;" in html
    assert [each.n_frames for each in moving] == ([4] * 4 if kind == "video" else [])
    assert "left <b>" not in html


@every_kind
def test_what_can_be_taken_home_makes_the_same(visit, tmp_path, monkeypatch, kind):
    path = write(kind, tmp_path)
    given, _ = visit.explain(kind, upload(path), f"own_models:{kind}")
    buttons, *files, code = visit.handlers(kind).pack(ME, 0, given, 0.6, False, 0.5)
    assert buttons["visible"] is True
    suffixes = ["png", "npz", "py", *(["webp"] if kind == "video" else [])]
    assert [file.rpartition(".")[2] for file in files] == suffixes
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vitcam, "load_model", own_models.load)
    exec(code["value"], {})
    with np.load("maps.npz") as made, np.load(files[1]) as packed:
        assert np.allclose(made["agcam"], packed["agcam"], rtol=1e-4, atol=1e-7)
        assert packed["class_names"].tolist() == given.names
    assert Image.open("panel.png").size == Image.open(files[0]).size
    if kind == "video":
        first, second = (Image.open(file) for file in ("moving.webp", files[3]))
        assert (first.n_frames, first.size) == (second.n_frames, second.size) == (4, first.size)
    nothing = visit.handlers(kind).pack(ME, 0, None, 0.6, False, 0.5)
    assert len(nothing) == 1 + len(files) + 1


@every_kind
def test_a_model_of_another_kind_is_an_error_that_names_its_tab(visit, tmp_path, kind):
    path, spec = write(kind, tmp_path), f"own_models:{kind}"
    tab, own = TABS[kind], type(own_model(kind).preprocessing).__name__
    text = visit.said(None, upload(photo_path("cat")), spec)
    assert f"{spec} takes a {kind}, as {own} prepares it: it answers in the tab {tab.name}. " in text
    assert "This is the tab Photograph, for models that take a photograph." in text
    text = visit.said(kind, upload(path), "embedded:photo")
    assert "embedded:photo takes a photograph: it answers in the tab Photograph. " in text
    assert f"This is the tab {tab.name}, for models that take a {kind}" in text
    other = next(name for name in TABS if name != kind)
    assert f"answers in the tab {TABS[other].name}" in visit.said(kind, upload(path), f"own_models:{other}")


@every_kind
@pytest.mark.parametrize("fault", ["truncated", "other", "gone"])
def test_what_is_no_such_file_is_said_by_the_name_that_the_visitor_knows(visit, tmp_path, kind, fault):
    path = write(kind, tmp_path)
    name = f"<i>{path.name}"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if fault == "truncated" else b"%!PS nothing of it" * 50)
    if fault == "gone":
        path.unlink()
    text = visit.said(kind, upload(path, name), f"own_models:{kind}")
    said = {
        "truncated": "truncated|damaged",
        "other": "can't be read as",
        "gone": "isn't kept any more. Drop it again",
    }[fault]
    assert re.search(said, text)
    assert str(tmp_path) not in text
    assert name in text
    with pytest.raises(gr.Error) as caught:
        visit.explain(kind, upload(path, name), f"own_models:{kind}")
    assert "<i>" not in caught.value.message


@every_kind
def test_nothing_was_given(visit, kind):
    ranking, ticks = visit.rank(kind, None, f"own_models:{kind}")
    assert (ranking, ticks["info"]) == (None, f"They are listed once there is a {kind}.")
    with pytest.raises(gr.Error, match=f"There is no {kind} yet. Drop or choose a file"):
        visit.explain(kind, None, f"own_models:{kind}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sound"])
def test_what_holds_too_much_is_refused_with_what_allows_more(tmp_path, kind):
    few = Visit(tmp_path, max_megapixels=0.0005)
    text = few.said(kind, upload(write(kind, tmp_path)), f"own_models:{kind}")
    assert re.search(r"more than [\d,]+.*Make it smaller, start the app with a larger --max-megapixels", text)


def test_of_a_long_sound_no_more_is_read_than_is_heard_and_that_is_said(tmp_path, visit):
    path = write_sound(tmp_path / "long.wav", tone(20))
    _, html = visit.explain("sound", upload(path, "<b>long.wav"), "own_models:sound")
    assert "&lt;b&gt;long.wav lasts 20.0 s; the model hears the first 1.0 s of it" in html
    assert str(tmp_path) not in html


@every_kind
def test_names_are_escaped(visit, tmp_path, kind):
    path = write(kind, tmp_path)
    _, html = visit.explain(kind, upload(path, "<b>x</b>.gif"), f"own_models:{kind}", ticked=["0"])
    assert "<b>" not in html
    assert "b&gt;.gif: maps by agcam" in html
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "img", "figure", "figcaption", "p"}


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("sound", "soundfile", "sound"), ("volume", "nibabel", "volume"), ("video", "av", "video")],
)
def test_a_package_that_is_missing_is_named(visit, tmp_path, monkeypatch, kind, module, extra):
    path = write(kind, tmp_path)
    if kind == "video":  # animations need none
        path = path.rename(path.with_suffix(".mp4"))
    monkeypatch.setitem(sys.modules, module, None)
    text = visit.said(kind, upload(path), f"own_models:{kind}")
    assert f"read by {module}" in text
    assert f"pip install 'vitcam[{kind}]'" in text


def test_what_is_still_to_come_is_said_and_a_stop_is_of_its_tab(visit, tmp_path):
    path, seen = write("video", tmp_path), []
    asked = (True, "own_models:video", [], [], None)
    clips = visit.handlers("video")
    with visit.photographs.sessions.working("me", "explaining") as another:
        for step in clips.explain(ME, upload(path), ["gae", "agcam"], 0.5, False, 0.5, *asked):
            if hasattr(step[1], "explanations"):
                seen.append(("To come: gae" in step[4], len(shown(step[4]))))
                clips.stop(ME)
        assert not another.told
    assert seen[0] == (True, 1)
    assert not seen[-1][0]  # it was stopped, or quicker
    assert "Choose a video, then press" in clips.draw(None, 0.5, False, 0.5)

import asyncio
import logging
from html import unescape
from pathlib import Path

import gradio as gr
import pytest
from visitors import quiet

from vitcam.app import components
from vitcam.app.components import PhotographBox
from vitcam.app.desk import NO_PHOTOGRAPH, NO_TEXTS, Desk
from vitcam.app.problems import readable_errors
from vitcam.errors import ImageError
from vitcam.photos import photo_path

CAT = str(photo_path("cat"))
BOTH = str(photo_path("cat_and_cup"))


@pytest.fixture
def desk(shelf, policy, tmp_path):
    return Desk(shelf, policy, tmp_path)


def ticked(update):
    return [label for label, value in update["choices"] if value in update["value"]]


def explain(desk, path=BOTH, text="", ticks=(), known=None, methods=("agcam",), spec="embedded:photo"):
    return desk.explain(True, path, spec, text, list(ticks), list(methods), known, quiet)


def test_ranking_a_photograph(desk):
    ranking, ticks = desk.rank(True, BOTH, "embedded:photo", "", None, quiet)
    assert ranking.names[:2] == ("cat", "cup")
    assert [label.partition(" · ")[0] for label in ticked(ticks)] == ["cat"]
    again = desk.rank(True, BOTH, "embedded:photo", "a text that isn't this model's class", ranking, quiet)
    assert all(update.get("__type__") == "update" and "choices" not in update for update in again)


def test_nothing_to_rank(desk):
    for wanted, path in ((False, CAT), (True, None)):
        ranking, ticks = desk.rank(wanted, path, "embedded:photo", "", None, quiet)
        assert ranking is None
        assert (ticks["choices"], ticks["info"]) == ([], NO_PHOTOGRAPH)


def test_clip_asks_for_texts(desk):
    ranking, ticks = desk.rank(True, CAT, "open_clip:fake", " ", None, quiet)
    assert ticks["info"] == NO_TEXTS
    ranking, ticks = desk.rank(True, CAT, "open_clip:fake", "a cat\na dog", ranking, quiet)
    assert len(ticked(ticks)) == 2
    assert ticks["info"] == ""


def test_ticks_of_another_photograph_are_not_explained(desk):
    ranking, _ = desk.rank(True, CAT, "embedded:photo", "", None, quiet)
    cup = "42"
    given, new, ticks = explain(desk, ticks=[cup], known=ranking)
    assert given.names == ["cat"]
    assert new.subject.photograph.name == "cat_and_cup.jpg"
    given, _, ticks = explain(desk, ticks=[cup, "nonsense"], known=new)
    assert given.names == ["cup"]
    assert ticked(ticks)[0].startswith("cup · ")


def test_what_was_typed_is_listed_too(desk):
    given, _, ticks = explain(desk, text="camera")
    assert given.names == ["camera"]
    assert [label.partition(" · ")[0] for label in ticked(ticks)] == ["camera"]


def test_drawing_and_packing_run_no_model(desk, shelf):
    given, *_ = explain(desk)
    with shelf.model("embedded:photo"):  # somebody else's long run
        html = desk.draw(given, 0.5, True, 0.4)
        folder, _, png, npz, py, code = desk.pack(given, None, 0.5, True, 0.4)
    assert html.count("<img") == 2
    assert [path.rpartition("/")[2] for path in (png, npz, py)] == [
        f"cat_and_cup.embedded-photo.{suffix}" for suffix in ("png", "npz", "py")
    ]
    assert "threshold" not in code["value"]
    assert "boxes(0.4)" in code["value"]
    newer, *_ = desk.pack(given, folder, 0.5, False, 0.4)
    assert not folder.exists()
    assert newer.exists()


def test_nothing_to_draw(desk):
    assert "press <b>Explain</b>" in desk.draw(None, 0.5, False, 0.5)
    assert desk.pack(None, None, 0.5, False, 0.5)[1]["visible"] is False
    assert desk.take_apart(None, None, 0, 0, None, 0.5, False, 0.5, quiet)[0] is None
    assert desk.switch(None, {}, 0.5, False, 0.5)[0] is None
    assert "Explain" in desk.draw_apart(None, 0.5, False, 0.5)[0]


def test_layers_of_either_model(desk):
    first, *_ = explain(desk, text="cat\ncup")
    second, *_ = explain(desk, spec="open_clip:fake", text="a\nb")
    view = (0.5, False, 0.5)
    apart, models, classes, grid, *_ = desk.take_apart(first, second, 1, 1, None, *view, quiet)
    assert apart.of is second
    assert (models["visible"], models["value"]) == (True, 1)
    assert classes["value"] == 1
    assert len(grid["shares"]) == 2
    grid["on"][0] = [False] * 3
    less, html, code = desk.switch(apart, grid, *view)
    assert "[[0, 0, 0],\n     [1, 1, 1]]" in code
    assert less.heads.share < 1
    assert "those switched on" in html
    assert desk.draw_apart(less, *view)[0] == html
    assert desk.draw_apart(less, 0.9, False, 0.5)[0] != html
    assert desk.draw_apart(less, *view)[1].count("<img") == 2
    kept = desk.take_apart(first, second, 1, 0, apart, *view, quiet)[0]
    assert kept.parts is apart.parts  # another class of the same answer runs no model
    alone, models, classes, *_ = desk.take_apart(first, None, 1, 7, None, *view, quiet)
    assert alone.of is first
    assert models["visible"] is False
    assert classes["value"] == 0


def shown(action):
    with pytest.raises(gr.Error) as caught:
        action()
    return unescape(caught.value.message)


def test_errors_are_shown_as_vitcam_words_them_and_escaped(desk):
    with pytest.raises(gr.Error) as caught:
        explain(desk, text="<b>unicorn")
    assert "no class called &#x27;&lt;b&gt;unicorn&#x27;" in caught.value.message
    assert "There is no photograph yet" in shown(lambda: explain(desk, path=None))
    assert "<br>" in shown(lambda: explain(desk, spec="nonsense"))


def test_unexpected_errors_go_to_the_log(caplog):
    def fail():
        with readable_errors():
            raise RuntimeError("secret/path <x>")

    with caplog.at_level(logging.ERROR, logger="vitcam.app"):
        text = shown(fail)
    assert "an error that it doesn't know (RuntimeError)" in text
    assert "secret" not in text
    number = text.rpartition(" ")[2].rstrip(".")
    assert number in caplog.text
    assert "secret/path" in caplog.text


def test_no_memory():
    def fail():
        with readable_errors():
            raise MemoryError

    assert "isn't enough memory" in shown(fail)


def test_components_leave_no_files_beside_the_source():
    assert not Path(components.__file__).with_suffix(".pyi").exists()
    assert PhotographBox(type="filepath").get_block_name() == "image"


def test_the_server_fetches_no_addresses():
    box = PhotographBox(type="filepath")
    with pytest.raises(ImageError, match=r"no addresses"):
        asyncio.run(box.async_move_resource_to_block_cache("https://example.org/cat.jpg"))

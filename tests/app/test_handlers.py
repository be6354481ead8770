import asyncio
import logging
import threading
from html import unescape
from pathlib import Path

import gradio as gr
import pytest
import torch
from visitors import ticket

import vitcam
from vitcam.app import components
from vitcam.app.components import PhotographBox
from vitcam.app.handlers import EXPLAINING, Handlers
from vitcam.app.layer_handlers import LayerHandlers
from vitcam.app.photo_files import photo_file
from vitcam.app.ranking import Case, Ranking
from vitcam.app.updates import NO_TEXTS, NOT_YET, completions, readable_errors
from vitcam.errors import ImageError
from vitcam.photos import photo_path

CAT = (str(photo_path("cat")), "cat.jpg")
BOTH = (str(photo_path("cat_and_cup")), "cat_and_cup.jpg")
ME = gr.Request(session_hash="me")
LOOK = (0.5, False, 0.5)


@pytest.fixture
def handlers(cache, policy, tmp_path):
    return Handlers(cache, policy, tmp_path)


def ticked(update):
    return [label for label, value in update["choices"] if value in update["value"]]


@pytest.fixture
def layers(handlers, cache, policy):
    return LayerHandlers(cache, policy, handlers.sessions)


def steps(handlers, path=BOTH, text="", ticks=(), known=None, methods=("agcam",), spec="embedded:photo"):
    """What the page is told while one model explains."""
    return handlers.explain(ME, path, list(methods), *LOOK, True, spec, text, list(ticks), known)


def explain(*arguments, **options):
    """(answer, ranking, ticks) in the end."""
    return shown(steps(*arguments, **options))[:3]


def shown(yields, start=1):
    """What stands in the four outputs of a model after all that was yielded."""
    last = [None] * 4
    for one in yields:
        parts = one[start : start + 4]
        last = [before if is_skip(new) else new for before, new in zip(last, parts, strict=True)]
    return last


def apart_in_the_end(layers, *asked):
    *_, last = layers.take_apart(ME, *asked, *LOOK)
    return last


def is_skip(value):
    return isinstance(value, dict) and set(value) == {"__type__"}


def rank(handlers, *asked):
    """(ranking, ticks) in the end; None where they are left as they are."""
    return ranked(handlers, *asked)[:2]


def ranked(handlers, *asked):
    """(ranking, ticks, names to complete) in the end, likewise."""
    last = [None] * 3
    for one in handlers.rank(ME, *asked):
        last = [before if is_skip(new) else new for before, new in zip(last, one, strict=True)]
    return last


def test_ranking_a_photograph(handlers):
    ranking, ticks = rank(handlers, True, BOTH, "embedded:photo", "", None)
    assert ranking.names[:2] == ("cat", "cup")
    assert [label.partition(" · ")[0] for label in ticked(ticks)] == ["cat"]
    again = list(handlers.rank(ME, True, BOTH, "embedded:photo", "no class of this model", ranking))
    assert len(again) == 1  # to gradio, none at all would mean None
    assert all(map(is_skip, again[0]))


def test_while_a_photograph_is_ranked_old_classes_are_gone(handlers, cache):
    ranking, _ = rank(handlers, True, BOTH, "embedded:photo", "", None)
    with cache.model("embedded:photo", ticket("somebody else")):
        waiting = handlers.rank(ME, True, CAT, "embedded:photo", "", ranking)
        assert next(waiting)[0] is None
        assert next(waiting)[1]["info"] == "Waiting for 1 other visitor …"
    *_, (_, ticks, _) = waiting
    assert ticked(ticks)[0].startswith("cat · ")


def test_a_photograph_that_cannot_be_ranked_has_no_classes(handlers):
    said = []
    with pytest.raises(gr.Error, match=r"doesn&#x27;t say where the model is from"):
        said.extend(handlers.rank(ME, True, CAT, "nonsense", "", None))
    failed, ticks, names = said[-1]
    assert is_skip(names) or names["choices"] == []
    assert ticks["choices"] == []
    assert "message says why" in ticks["info"]
    assert rank(handlers, True, CAT, "nonsense", "", failed) == [None, None]  # it isn't said again


def test_names_are_completed(handlers):
    ranking, _, names = ranked(handlers, True, CAT, "embedded:photo", [], None)
    assert len(names["choices"]) == 62
    assert {"cat", "cup"} <= set(names["choices"])
    assert ranked(handlers, True, BOTH, "embedded:photo", [], ranking)[2] is None  # they are known
    _, _, names = ranked(handlers, True, CAT, "open_clip:fake", ["a cat"], ranking)
    assert names["choices"] == []  # texts are anything


def test_classes_of_one_name_are_told_apart():
    case = Case(photo_file(CAT), "a model")
    names = ("crane", "cat", "crane")
    choices = completions(Ranking(case, False, (), (), (), names))["choices"]
    assert choices == [("crane (class 0)", "0"), "cat", ("crane (class 2)", "2")]


def test_a_bad_photograph_says_so_once(handlers, tmp_path):
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(photo_path("cat").read_bytes()[:4000])
    upload = (str(bad), "holiday.jpg")
    with pytest.raises(gr.Error, match="truncated"):
        rank(handlers, True, upload, "embedded:photo", [], None)
    _, ticks = rank(
        handlers, True, upload, "open_clip:fake", [], None
    )  # the second model, or the same event again
    assert "message says why" in ticks["info"]
    for between in (CAT, None):  # another one, or none
        rank(handlers, True, between, "embedded:photo", [], None)
        with pytest.raises(gr.Error, match="truncated"):
            rank(handlers, True, upload, "embedded:photo", [], None)


def test_a_wrong_class_is_said_once_the_others_are_explained(handlers):
    told = []
    with pytest.raises(gr.Error, match="no class called &#x27;catt&#x27;"):
        told.extend(steps(handlers, text=["catt", "cup"]))
    given, *_, html = shown(told)
    assert given.names == ["cup"]
    assert "agcam for cup" in html
    assert told[-1][0] == ""  # nothing is being done any more


def test_nothing_to_rank(handlers):
    for wanted, path in ((False, CAT), (True, None)):
        ranking, ticks = rank(handlers, wanted, path, "embedded:photo", "", None)
        assert ranking is None
        assert (ticks["choices"], ticks["info"]) == ([], NOT_YET.format(noun="photograph"))


def test_clip_asks_for_texts(handlers):
    ranking, ticks = rank(handlers, True, CAT, "open_clip:fake", " ", None)
    assert ticks["info"] == NO_TEXTS
    ranking, ticks = rank(handlers, True, CAT, "open_clip:fake", "a cat\na dog", ranking)
    assert len(ticked(ticks)) == 2
    assert ticks["info"] == ""


def test_ticks_of_another_photograph_are_not_explained(handlers):
    ranking, _ = rank(handlers, True, CAT, "embedded:photo", "", None)
    cup = "42"
    given, new, ticks = explain(handlers, ticks=[cup], known=ranking)
    assert given.names == ["cat"]
    assert new.case.file.name == "cat_and_cup.jpg"
    given, _, ticks = explain(handlers, ticks=[cup, "nonsense"], known=new)
    assert given.names == ["cup"]
    assert ticked(ticks)[0].startswith("cup · ")


def test_what_was_typed_is_listed_too(handlers):
    given, _, ticks = explain(handlers, text="camera")
    assert given.names == ["camera"]
    assert [label.partition(" · ")[0] for label in ticked(ticks)] == ["camera"]


def test_drawing_and_packing_run_no_model(handlers, cache):
    given, *_ = explain(handlers)
    with cache.model("embedded:photo", ticket("somebody with a long run")):
        html = handlers.draw(given, 0.5, True, 0.4)
        _, png, npz, py, code = handlers.pack(ME, 0, given, 0.5, True, 0.4)
    assert html.count("<img") == 2
    assert [path.rpartition("/")[2] for path in (png, npz, py)] == [
        f"cat_and_cup.embedded-photo.{suffix}" for suffix in ("png", "npz", "py")
    ]
    assert "threshold" not in code["value"]
    assert "boxes=0.4" in code["value"]
    _, newer, *_ = handlers.pack(ME, 0, given, 0.5, False, 0.4)
    _, other, *_ = handlers.pack(ME, 1, given, 0.5, False, 0.4)
    assert [Path(path).exists() for path in (png, newer, other)] == [False, True, True]
    handlers.pack(ME, 0, None, *LOOK)
    assert [Path(path).exists() for path in (newer, other)] == [False, True]


def test_no_method(handlers):
    assert "No method is chosen" in said(lambda: explain(handlers, methods=()))


def test_maps_come_as_they_are_finished(handlers):
    seen, texts = [], []
    for status, given, _, ticks, html in steps(handlers, methods=["lrp", "gae", "agcam"]):
        if not is_skip(status):
            texts.append(status)
        if not is_skip(given):
            seen.append((list(given.explanations), given.methods, html.count("to come"), is_skip(ticks)))
    everything = ("lrp", "gae", "agcam")
    assert seen == [
        (["agcam"], everything, 2, False),
        (["gae", "agcam"], everything, 1, True),  # the visitor may have ticked something else by then
        (["lrp", "gae", "agcam"], everything, 0, True),
    ]
    assert any("Explaining by lrp · 2 of 3 methods done" in text for text in texts)
    assert texts[-1] == ""


def test_what_fails_late_keeps_what_is_finished(handlers, monkeypatch):
    def compare(model, images, methods, targets):
        if "lrp" in methods:
            raise MemoryError
        return vitcam.compare(model, images, methods, targets)

    monkeypatch.setattr("vitcam.app.answers.compare", compare)
    told = []
    with pytest.raises(gr.Error, match=r"enough memory"):
        told.extend(steps(handlers, methods=["lrp", "agcam"]))
    given, *_, html = shown(told)
    assert given.methods == ("agcam",)
    assert "to come" not in html


def test_both_models_fail(handlers):
    sides = [True, "nonsense", "", [], None, True, "bla", "", [], None]
    text = said(lambda: list(handlers.explain(ME, BOTH, ["agcam"], *LOOK, *sides)))
    assert "'nonsense'" in text
    assert "'bla'" in text


def test_a_visitor_stops_what_was_asked(handlers):
    yields = steps(handlers, methods=["lrp", "gae", "agcam"])
    last = []
    for one in yields:
        last.append(one)
        if not is_skip(one[1]) and list(one[1].explanations) == ["gae", "agcam"]:
            assert handlers.stop(ME)["value"] == "Stopping …"
    assert "Stopped. What was finished is kept." in last[-1][0]
    given, _, _, html = shown(iter(last))
    assert given.methods == tuple(given.explanations)  # lrp is left out, unless it was faster than the stop
    assert "to come" not in html


def test_a_visitor_stops_while_waiting_for_another(handlers, cache):
    with cache.model("embedded:photo", ticket("somebody else")):
        yields = steps(handlers)
        texts = [next(yields)[0], next(yields)[0]]
        assert "Waiting for 1 other visitor" in texts[-1]
        handlers.stop(ME)
        assert "Stopped" in [one[0] for one in yields][-1]


def test_whoever_closes_the_page_leaves_no_work(handlers):
    yields = steps(handlers, methods=["lrp", "gae", "agcam"])
    next(yields)
    handlers.leave(ME)
    assert "Stopped" in [one[0] for one in yields][-1]
    with handlers.sessions.working("me", EXPLAINING) as stop:
        handlers.stop(gr.Request(session_hash="another"))
        assert not stop.told
    assert stop.told  # nobody looks on
    for thread in threading.enumerate():
        if thread.name == "vitcam-task":
            thread.join(60)
            assert not thread.is_alive()


def test_a_model_that_fails_leaves_the_other(handlers):
    sides = [True, "nonsense", "", [], None, True, "embedded:photo", "", [], None]
    told = []
    with pytest.raises(gr.Error, match=r"say where the model is from"):
        told.extend(handlers.explain(ME, BOTH, ["agcam"], *LOOK, *sides))
    assert "agcam for cat" in shown(told, start=5)[3]


def test_a_second_model_that_is_not_wanted_is_cleared(handlers):
    sides = [True, "embedded:photo", "", [], None, False, "embedded:photo", "", [], None]
    last = list(handlers.explain(ME, BOTH, ["agcam"], *LOOK, *sides))
    assert shown(last)[0].names == ["cat"]
    given, *_, html = shown(last, start=5)
    assert given is None
    assert "press <b>Explain</b>" in html


def test_nothing_to_draw(handlers, layers):
    assert "press <b>Explain</b>" in handlers.draw(None, 0.5, False, 0.5)
    assert handlers.pack(ME, 0, None, *LOOK)[0]["visible"] is False
    assert apart_in_the_end(layers, None, None, 0, 0, None)[0] is None
    assert layers.switch(None, {}, *LOOK)[0] is None
    assert "Explain" in layers.draw(None, *LOOK)[0]


def test_layers_of_either_model(handlers, layers):
    first, *_ = explain(handlers, text="cat\ncup")
    second, *_ = explain(handlers, spec="open_clip:fake", text="a\nb")
    apart, models, classes, grid, *_ = apart_in_the_end(layers, first, second, 1, 1, None)
    assert apart.of is second
    assert (models["visible"], models["value"]) == (True, 1)
    assert classes["value"] == 1
    assert len(grid["shares"]) == 2
    grid["on"][0] = [False] * 3
    less, html, code = layers.switch(apart, grid, *LOOK)
    assert "[[0, 0, 0],\n     [1, 1, 1]]" in code
    assert less.heads.share < 1
    assert "those switched on" in html
    assert layers.draw(less, *LOOK)[0] == html
    assert layers.draw(less, 0.9, False, 0.5)[0] != html
    assert layers.draw(less, *LOOK)[1].count("<img") == 2
    kept = apart_in_the_end(layers, first, second, 1, 0, apart)[0]
    assert kept.parts is apart.parts  # another class of the same answer runs no model
    alone, models, classes, *_ = apart_in_the_end(layers, first, None, 1, 7, None)
    assert alone.of is first
    assert models["visible"] is False
    assert classes["value"] == 0


def test_taking_apart_is_told(handlers, layers, cache):
    given, *_ = explain(handlers)
    with cache.model("embedded:photo", ticket("somebody else")):
        told = layers.take_apart(ME, given, None, 0, 0, None, *LOOK)
        assert "Taking the map apart" in next(told)[4]
        assert "Waiting for 1 other visitor" in next(told)[4]
        handlers.leave(ME)
        assert list(told) == []


def test_a_map_that_cannot_be_taken_apart(handlers, layers, mine):
    given, *_ = explain(handlers, (str(mine), "my cat.jpg"))
    mine.unlink()
    told = []
    with pytest.raises(gr.Error, match=r"my cat.jpg isn&#x27;t kept any more"):
        told.extend(layers.take_apart(ME, given, None, 0, 0, None, *LOOK))
    assert told[-1][0] is None
    assert told[-1][4] == ""


def said(action):
    with pytest.raises(gr.Error) as caught:
        action()
    return unescape(caught.value.message)


def test_errors_are_shown_as_vitcam_words_them_and_escaped(handlers):
    with pytest.raises(gr.Error) as caught:
        explain(handlers, text="<b>unicorn")
    assert "no class called &#x27;&lt;b&gt;unicorn&#x27;" in caught.value.message
    assert "There is no photograph yet" in said(lambda: explain(handlers, path=None))
    assert "<br>" in said(lambda: explain(handlers, spec="nonsense"))


def test_unexpected_errors_go_to_the_log(caplog):
    def fail():
        with readable_errors():
            raise RuntimeError("secret/path <x>")

    with caplog.at_level(logging.ERROR, logger="vitcam.app"):
        text = said(fail)
    assert "an error that it doesn't know (RuntimeError)" in text
    assert "secret" not in text
    number = text.rpartition(" ")[2].rstrip(".")
    assert number in caplog.text
    assert "secret/path" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_no_memory(error):
    def fail():
        with readable_errors():
            raise error

    assert "isn't enough memory" in said(fail)


def test_components_leave_no_files_beside_the_source():
    assert not Path(components.__file__).with_suffix(".pyi").exists()
    assert PhotographBox(type="filepath").get_block_name() == "image"


def test_the_server_fetches_no_addresses():
    box = PhotographBox(type="filepath")
    with pytest.raises(ImageError, match=r"no addresses"):
        asyncio.run(box.async_move_resource_to_block_cache("https://example.org/cat.jpg"))

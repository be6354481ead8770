import threading

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from vitcam.app.server import let_go
from vitcam.app.sessions import KEPT, MOST, Sessions

SECONDS = 60


@pytest.fixture
def files(tmp_path):
    """Makes files in the folder of uploads."""

    def make(*names):
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.write_text("a photograph")
        return paths

    return make


def forgetting(tmp_path, grace=0.0, keep=()):
    """The visitors, and what is set when one of them is forgotten."""
    gone = threading.Event()
    return Sessions(tmp_path, keep, lambda session: gone.set(), grace), gone


def test_photographs_are_deleted_once_their_visitor_has_left(tmp_path, files):
    dog, shipped = files("dog", "shipped")
    cat = tmp_path / "hash" / "cat"
    cat.parent.mkdir()
    cat.write_text("a photograph")
    outside = tmp_path.parent / "outside"
    outside.write_text("not the app's")
    sessions, gone = forgetting(tmp_path, keep=(shipped,))
    for path in (cat, dog, shipped, outside):
        sessions.uses("me", path)
    sessions.uses("another", dog)  # the same bytes lie in the same file
    packed = tmp_path / "packed"
    packed.mkdir()
    sessions.packs("me", "0", packed)
    sessions.leave("me")
    assert gone.wait(SECONDS)
    assert not cat.parent.exists()
    assert not packed.exists()
    assert dog.exists()
    assert shipped.exists()
    assert outside.exists()
    gone.clear()
    sessions.leave("another")
    assert gone.wait(SECONDS)
    assert not dog.exists()


def test_a_few_photographs_are_kept_of_a_visitor(tmp_path, files):
    paths = files(*map(str, range(KEPT + 2)))
    sessions, _ = forgetting(tmp_path)
    for path in (paths[0], *paths[1:KEPT], paths[0], *paths[KEPT:]):
        sessions.uses("me", path)
    assert [path.exists() for path in paths] == [True, False, False, *[True] * (KEPT - 1)]


def test_whoever_comes_back_in_time_is_not_forgotten(tmp_path, files):
    (cat,) = files("cat")
    sessions, gone = forgetting(tmp_path, grace=SECONDS)
    sessions.uses("me", cat)
    sessions.leave("me")
    timer = sessions._sessions["me"].leaving
    sessions.uses("me", cat)
    timer.join(SECONDS / 2)
    assert not timer.is_alive()  # it was cancelled
    assert not gone.is_set()
    assert cat.exists()


def test_leaving_ends_all_work_and_stopping_one_kind(tmp_path):
    sessions, _ = forgetting(tmp_path)
    with (
        sessions.working("me", "a") as one,
        sessions.working("me", "b") as two,
        sessions.working("you", "a") as you,
    ):
        sessions.stop("me", "a")
        assert [stop.told for stop in (one, two, you)] == [True, False, False]
        sessions.leave("me")
        assert [stop.told for stop in (one, two, you)] == [True, True, False]
        sessions.close()
        assert you.told


def test_only_so_many_visitors_are_known(tmp_path, files):
    first, second = files("first", "second")
    sessions, gone = forgetting(tmp_path, grace=SECONDS)
    sessions.uses("first", first)
    sessions.uses("second", second)
    with sessions.working("busy", "a") as stop:
        for number in range(MOST - 3):
            sessions.uses(str(number), tmp_path / "none")
        sessions.uses("first", first)  # who did something lately isn't the one to go
        assert not gone.is_set()
        sessions.uses("one more", tmp_path / "none")
        assert gone.is_set()
        assert not stop.told
    assert first.exists()
    assert not second.exists()


def test_gradio_lets_go_of_one_visitor():
    with gr.Blocks() as page:
        value = gr.State()
    page.state_session_capacity = 10
    holder = StateHolder()
    holder.set_blocks(page)
    for session in ("me", "you"):
        holder[session][value._id] = "maps"
    let_go(page, "me")
    let_go(page, "nobody")
    holder.delete_all_expired_state()
    assert value._id not in holder["me"]
    assert holder["you"][value._id] == "maps"


def test_who_was_never_here_can_leave(tmp_path):
    sessions, gone = forgetting(tmp_path)
    sessions.stop("nobody")
    sessions.leave("nobody")
    assert not gone.is_set()

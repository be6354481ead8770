import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from visitors import ticket

from vitcam.app.downloads import maps_npz, png
from vitcam.app.drawing import (
    Look,
    grid,
    kept_html,
    kept_overlay,
    layers_html,
    maps_html,
    overlays,
    paragraphs,
)
from vitcam.app.layers import heads_of, take_apart
from vitcam.render.scale_bar import scale


class Read(HTMLParser):
    """The tags, texts and attributes of a piece of HTML, which must be balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts, self.alts = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)
        else:
            self.alts.append(dict(attributes)["alt"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_methods_across_and_classes_down(ask):
    read = Read(maps_html(ask(1, 42), Look()))
    assert read.alts == [
        *("cat_and_cup.jpg", "agcam for cat", "rollout for cat"),
        *("cat_and_cup.jpg", "agcam for cup", "rollout for cup"),
    ]
    assert [text for text in read.texts if text in ("photograph", "agcam", "rollout")] == [
        "photograph",
        "agcam",
        "rollout",
    ]
    assert "The same map for every class: rollout." in read.texts


def test_names_are_escaped(ask):
    evil = "<img src=x onerror=alert(1)>\"'"
    html = maps_html(ask(spec="open_clip:fake", texts=[evil, "b"], methods=["agcam"]), Look())
    read = Read(html)
    assert set(read.tags) <= {
        "div",
        "table",
        "caption",
        "span",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "small",
        "img",
    }
    assert f"{evil} " in read.texts
    assert f"agcam for {evil}" in read.alts
    assert paragraphs("<b>\nx") == "&lt;b&gt;<br>x"


def test_a_wrong_class_is_said_beside_the_others(ask):
    read = Read(maps_html(ask(1, texts=["<i>catt"]), Look()))
    assert len([text for text in read.texts if "no class called '<i>catt'" in text]) == 1
    assert "agcam for cat" in read.alts


def test_colours_have_a_scale(ask):
    given = ask(1)
    html = maps_html(given, Look())
    assert html.count("of each map") == 1
    data = re.search(r"url\(data:image/png;base64,([^)]+)\)", html)[1]
    bar = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert (bar == np.asarray(scale(128, 12, Look().opacity))).all()
    assert data not in maps_html(given, Look(opacity=0.3))


def test_looks_change_the_picture_and_not_the_maps(ask):
    given = ask(1, methods=["agcam"])
    before = given.first.heatmaps.clone()
    pictures = [
        np.asarray(overlays(given, look)[0][0]).astype(int)
        for look in (
            Look(),
            Look(opacity=0.2),
            Look(boxes=True, threshold=0.3),
            Look(boxes=True, threshold=0.8),
            Look(threshold=0.8),
        )
    ]
    assert all(not np.array_equal(pictures[0], other) for other in pictures[1:4])
    assert not np.array_equal(pictures[2], pictures[3])
    assert np.array_equal(pictures[0], pictures[4])  # no boxes, no threshold
    assert given.first.heatmaps.equal(before)


def test_the_panel_grows_with_methods_and_classes(ask):
    one, more = grid(ask(1, methods=["agcam"]), Look()), grid(ask(1, 42), Look())
    assert more.width > one.width
    assert more.height > one.height
    assert png(one)[:4] == b"\x89PNG"


def test_raw_maps_to_take_home(ask):
    given = ask(1, 42)
    with np.load(io.BytesIO(maps_npz(given)), allow_pickle=False) as saved:
        assert sorted(saved) == ["agcam", "class_names", "classes", "probabilities", "rollout"]
        np.testing.assert_array_equal(saved["agcam"], given.explanations["agcam"].heatmaps[0].numpy())
        assert saved["agcam"].dtype == np.float32
        assert list(saved["class_names"]) == ["cat", "cup"]
        assert list(saved["classes"]) == [1, 42]


@pytest.fixture
def apart(ask, cache, policy):
    given = ask(1, 42, methods=["agcam"])
    return given, take_apart(given, cache, policy, ticket())


def test_all_heads_on_is_agcam(apart):
    given, parts = apart
    heads = heads_of(parts, 1)
    whole = np.asarray(overlays(given, Look())[1][0])
    np.testing.assert_allclose(
        np.asarray(kept_overlay(given, parts, 1, heads.on, Look())).astype(int), whole, atol=2
    )


def test_switching_heads_off(apart):
    given, parts = apart
    heads = heads_of(parts, 0)
    sent = heads.value()
    assert np.sum(sent["shares"]) == pytest.approx(1, abs=1e-3)
    sent["on"][5] = [False] * 6
    fewer = heads.switched(sent)
    assert fewer.share == pytest.approx(heads.shares[:5].sum())
    assert not fewer.on[5].any()
    assert heads.on.all()
    html = kept_html(given, parts, fewer, Look())
    assert f"those switched on: {100 * fewer.share:.1f} %" in html
    assert kept_html(given, parts, heads, Look()) != html
    nothing = heads.switched({"on": [[False] * 6] * 6})
    assert "those switched on: 0.0 %" in kept_html(given, parts, nothing, Look())


@pytest.mark.parametrize("sent", [None, "x", {}, {"on": [[True]]}, {"on": [[True] * 6] * 5 + [7]}, {"on": 3}])
def test_switches_that_make_no_sense_change_nothing(apart, sent):
    heads = heads_of(apart[1], 0)
    assert heads.switched(sent) is heads


def test_each_layer_has_a_picture_and_its_share(apart):
    given, parts = apart
    read = Read(layers_html(given, parts, heads_of(parts, 0), Look()))
    shares = parts.shares[0, 0].sum(dim=1).tolist()
    labels = [text for text in read.texts if text.startswith("layer")]
    assert [float(re.search(r"([\d.]+) %", label)[1]) for label in labels] == pytest.approx(
        [100 * share for share in shares], abs=0.051
    )
    assert len(read.alts) == 6

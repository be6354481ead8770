"""Figures of images × classes × methods, and what explanations show of themselves in notebooks."""

from __future__ import annotations

import base64
import io
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import vitcam
from vitcam.errors import ImageError, VitcamError
from vitcam.explaining import figures, notebook
from vitcam.explaining.joining import join
from vitcam.photos import photo_path
from vitcam.render import Cell, panel

PHOTOS = [photo_path("cat_and_cup"), photo_path("cup")]


@pytest.fixture(scope="module")
def photo():
    return vitcam.load_model("embedded:photo")


@pytest.fixture(scope="module")
def both(photo):
    found = vitcam.compare(photo, PHOTOS, ["agcam", "rollout"], targets=[["cat", "cup"]] * 2)
    assert found["agcam"].names == tuple(map(str, PHOTOS))
    return vitcam.Comparison({name: replace(e, names=()) for name, e in found.items()})


def drawn(monkeypatch):
    """What is drawn from here on: the arguments of each panel."""
    calls = []

    def spy(photo, cells, **options):
        calls.append({"photo": photo, "cells": cells, **options})
        return panel(photo, cells, **options)

    monkeypatch.setattr(figures, "panel", spy)
    return calls


def same(one, other):
    return one.size == other.size and one.tobytes() == other.tobytes()


def labels(call):
    return [[cell.label for cell in row] for row in call["cells"]]


def test_one_method_has_a_cell_per_class(both, monkeypatch):
    calls = drawn(monkeypatch)
    e = both["agcam"][0]
    picture = vitcam.figure(e, title="photo.jpg", notes=["model"])
    probability = [f"{100 * p:.1f} %" for p in e.probabilities[0, e.targets[0]].tolist()]
    row = [Cell(e.upsampled()[0, t].numpy(), f"{e.label(0, t)}\n{probability[t]}") for t in range(2)]
    expected = panel(
        e.photographs[0], [row], title="photo.jpg", footer="agcam · model", photo_label="photograph"
    )
    assert same(picture, expected)
    assert labels(calls[0]) == [[f"cat\n{probability[0]}", f"cup\n{probability[1]}"]]


def test_several_methods_have_a_row_per_class_and_a_column_each(both, monkeypatch):
    calls = drawn(monkeypatch)
    one = {name: e[0] for name, e in both.items()}
    picture = vitcam.figure(one)
    first = one["agcam"]
    shares = [f"{100 * p:.1f} %" for p in first.probabilities[0, first.targets[0]].tolist()]
    expected = panel(
        first.photographs[0],
        [[Cell(e.upsampled()[0, t].numpy()) for e in one.values()] for t in range(2)],
        row_labels=[f"cat\n{shares[0]}", f"cup\n{shares[1]}"],
        column_labels=["agcam", "rollout"],
        footer="the same map for every class: rollout",
    )
    assert same(picture, expected)
    assert calls[0]["photo_label"] == "photograph"


def test_several_images_stand_below_each_other(both, monkeypatch):
    calls = drawn(monkeypatch)
    picture = both.figure(photo_label=["first", "second"])
    assert calls[0]["photo_label"] == ["first", "", "second", ""]
    assert [photo.size for photo in calls[0]["photo"]] == [(301, 341), (301, 341), (392, 261), (392, 261)]
    assert [len(row) for row in calls[0]["cells"]] == [2] * 4
    one = vitcam.figure({name: e[1] for name, e in both.items()})
    assert picture.height > 2 * one.height * 0.9
    calls.clear()
    vitcam.figure(both["agcam"])
    assert [len(row) for row in calls[0]["cells"]] == [2, 2]


def test_photographs_are_called_by_their_files_or_their_numbers(both, monkeypatch):
    calls = drawn(monkeypatch)
    nameless = {name: replace(e, names=()) for name, e in both.items()}
    vitcam.figure(nameless)
    vitcam.figure({name: e[0] for name, e in nameless.items()})
    vitcam.figure({name: replace(e, names=("a/b/cat.jpg", "")) for name, e in both.items()})
    vitcam.figure(both["agcam"][0], photo_label="mine")
    shown = [call["photo_label"] for call in calls]
    assert shown == [["image 0", "", "image 1", ""], "photograph", ["cat.jpg", "", "image 1", ""], "mine"]
    with pytest.raises(VitcamError, match="a figure of 2 images takes as many labels of them; got 1"):
        vitcam.figure(both, photo_label="mine")


def test_a_list_is_put_in_order(both, monkeypatch):
    expected = vitcam.figure({name: e[0] for name, e in both.items()})
    agcam, rollout = both.values()
    assert same(vitcam.figure([agcam[0], rollout[0]]), expected)
    assert same(vitcam.figure((agcam, rollout)), both.figure())
    for order in ([agcam[0], rollout[0], agcam[1], rollout[1]], [agcam[0], agcam[1], rollout[0], rollout[1]]):
        assert same(vitcam.figure(order), both.figure())
    assert same(vitcam.figure(list(agcam)), vitcam.figure(agcam))
    with pytest.raises(
        VitcamError, match="as many explanations by each method; got 2 by agcam, 1 by rollout"
    ):
        vitcam.figure([agcam[0], agcam[1], rollout[0]])


def test_models_beside_each_other_keep_their_own_labels(photo, monkeypatch):
    calls = drawn(monkeypatch)
    other = vitcam.load_model("embedded:photo", pretrained=False)
    found = {
        name: vitcam.explain(model, PHOTOS[0], targets=["cat", "cup"])
        for name, model in (("trained", photo), ("random", other))
    }
    vitcam.figure(found)
    assert calls[0]["row_labels"] == ["cat", "cup"]
    assert re.fullmatch(r"26\.\d %", labels(calls[0])[0][0])
    assert len(set(labels(calls[0])[0])) == 2
    swapped = {**found, "random": vitcam.explain(other, PHOTOS[0], targets=["dog", "cup"])}
    vitcam.figure(swapped)
    assert calls[1]["row_labels"] == ["", "cup"]
    assert [text.split("\n")[0] for text in labels(calls[1])[0]] == ["cat", "dog"]


def test_what_does_not_belong_beside_each_other_is_refused(photo, both):
    agcam, rollout = both.values()
    with pytest.raises(VitcamError, match=r"must be of the same images: in 'a' and 'b' image 0 differs"):
        vitcam.figure({"a": agcam[0], "b": rollout[1]})
    with pytest.raises(VitcamError, match=r"as many images and targets: 'a' has \(2, 2\), 'b' \(1, 2\)"):
        vitcam.figure({"a": agcam, "b": rollout[:1]})
    with pytest.raises(VitcamError, match="has 0 photographs, so that its maps can't be laid over them"):
        vitcam.figure(replace(agcam, photographs=[]))
    for nothing in ({}, [], agcam[2:]):
        with pytest.raises(VitcamError, match="there is no explanation to draw"):
            vitcam.figure(nothing)


@pytest.mark.parametrize("wrong", [{"a": torch.ones(2)}, [torch.ones(2)], "agcam"])
def test_other_things_are_refused(wrong, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it
    with pytest.raises(
        VitcamError, match=r"a figure is drawn of an Explanation, .* or list of them; got .* among them"
    ):
        vitcam.figure(wrong)


def test_a_figure_too_large_is_refused_before_anything_is_drawn(both):
    many = join([both["agcam"]] * 300)
    with pytest.raises(VitcamError, match=r"a figure of 1800 pictures of 320×320 pixels would be too large"):
        vitcam.figure(many)
    assert vitcam.figure(many[:3], tile=60).size[0] < 400


def test_boxes_opacity_and_colours(both, monkeypatch):
    calls = drawn(monkeypatch)
    pictures = [both.figure(**look) for look in ({}, {"boxes": True}, {"boxes": 0.5}, {"boxes": 0.8})]
    pictures += [both.figure(opacity=0.3), both.figure(colormap="viridis"), both.figure(tile=100)]
    assert same(pictures[1], pictures[2])
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) - 1
    assert calls[1]["cells"][0][0].boxes == both["agcam"].boxes(0.5)[0][0]
    assert calls[3]["footer"].startswith("boxes: above 0.8")


def test_scores_of_functions_have_no_probability(photo, monkeypatch):
    calls = drawn(monkeypatch)
    vitcam.figure(vitcam.explain(photo, PHOTOS[0], targets=lambda logits: logits[:, 0]))
    assert labels(calls[0]) == [["score 0"]]


def test_maps_that_are_not_finite_are_refused(both):
    broken = replace(both["agcam"], heatmaps=torch.full_like(both["agcam"].heatmaps, torch.nan))
    with pytest.raises(ImageError, match="NaN or infinite"):
        vitcam.figure(broken)


def test_a_comparison_is_still_a_dictionary(both):
    assert isinstance(both, dict)
    assert {**both} == both == dict(both)
    assert list(both) == ["agcam", "rollout"]
    assert same(both.figure(boxes=0.5), vitcam.figure(both, boxes=0.5))
    again = pickle.loads(pickle.dumps(both))
    assert type(again) is vitcam.Comparison
    assert torch.equal(again["agcam"].heatmaps, both["agcam"].heatmaps)


def test_the_command_line_writes_this_figure(photo, tmp_path):
    command = ["explain", str(PHOTOS[0]), "--method", "agcam", "--method", "rollout", "--target", "top2"]
    code = "from vitcam.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, *command, "--boxes", "--output", str(tmp_path)],
        check=True,
        capture_output=True,
    )
    found = vitcam.compare(photo, PHOTOS[0], ["agcam", "rollout"], targets="top2")
    expected = found.figure(
        boxes=0.5, title="cat_and_cup.jpg", photo_label="photograph", notes=["embedded:photo"]
    )
    with Image.open(tmp_path / "cat_and_cup.panel.png") as picture:
        assert picture.size == expected.size
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).mean() < 0.1


def picture_in(html):
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_notebooks_show_a_picture(both):
    for shown in (both, both["agcam"]):
        html, png = shown._repr_html_(), shown._repr_png_()
        assert (
            picture_in(html).size == Image.open(io.BytesIO(png)).size == vitcam.figure(shown, tile=200).size
        )
        assert png[:4] == b"\x89PNG"
    assert (
        "Explanation(agcam, 2 images × 2 targets, maps of 12×12)</figcaption>" in both["agcam"]._repr_html_()
    )
    assert "Comparison of agcam, rollout</figcaption>" in both._repr_html_()


def test_ipython_takes_the_picture(both):
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    for shown in (both, both["agcam"]):
        data, _ = formatter.format(shown)
        assert {"text/plain", "text/html", "image/png"} <= set(data)


def test_notebooks_show_the_first_few_of_many(photo):
    many = join([vitcam.explain(photo, PHOTOS, targets="top30")] * 20)
    html = many._repr_html_()
    assert "Shown: 4 of 40 images and 10 of 30 targets" in html
    assert picture_in(html).height < 4000
    read = [0]

    class Counted(list):
        def __getitem__(self, index):
            read[0] += isinstance(index, int)
            return super().__getitem__(index)

    replace(many, photographs=Counted(many.photographs))._repr_png_()
    assert read[0] <= 2 * notebook.IMAGES


def test_html_of_others_stays_text(both):
    e = replace(both["agcam"], method="<script>alert(1)</script>")
    html = e._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in vitcam.Comparison({'"><script>': e})._repr_html_()


def test_where_there_is_no_picture_notebooks_say_why(both):
    e = replace(both["agcam"], heatmaps=torch.full_like(both["agcam"].heatmaps, torch.inf))
    assert "No picture: A heatmap must be finite" in e._repr_html_()
    assert e._repr_png_() is None
    assert "No picture: there is no explanation to draw" in vitcam.Comparison()._repr_html_()

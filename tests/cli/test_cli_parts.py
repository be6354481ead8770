"""The parts of ``vitcam explain`` that the embedded model doesn't exercise."""

from contextlib import closing
from dataclasses import replace

import pytest
import timm
import torch
from PIL import Image
from rich.console import Console

import vitcam
from vitcam.cli.explaining import batches
from vitcam.cli.explaining.batches import Result, explain_in_batches
from vitcam.cli.explaining.boxes import to_photograph
from vitcam.cli.explaining.manifest import Failed
from vitcam.cli.explaining.photographs import Photograph
from vitcam.cli.explaining.run import ExplainRun
from vitcam.cli.explaining.saving import save
from vitcam.cli.explaining.tables import short_names
from vitcam.cli.explaining.targets import choose_targets
from vitcam.cli.terminal import progress_bar
from vitcam.errors import TargetError
from vitcam.images import open_image
from vitcam.models import preprocessing
from vitcam.models.promptable import ImageTower
from vitcam.types import Box


@pytest.fixture
def tiny():
    """A tiny ViT that sees the centre of a photograph."""
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)
    prepare = vitcam.Preprocessing(
        size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize_mode="shortest"
    )
    return vitcam.LoadedModel(module, prepare, class_names=("dog", "cat, tabby", "cup"), spec="tiny")


@pytest.fixture
def run(tiny, tmp_path):
    return ExplainRun(
        model=tiny,
        targets=None,
        methods=["agcam"],
        output=tmp_path / "out",
        threshold=0.5,
        precision="fp32",
        batch_size=8,
    )


def photograph(folder, name, size):
    Image.effect_noise(size, 80).convert("RGB").save(folder / f"{name}.png")
    return Photograph(folder / f"{name}.png", name)


def test_one_photograph_that_spoils_a_batch_is_found_out(run, tmp_path):
    batch = [photograph(tmp_path, "good", (60, 40)), photograph(tmp_path, "thread", (100_000, 1))]
    good, thread = explain_in_batches([*batch], run)
    assert isinstance(good, Result)
    assert isinstance(thread, Failed)
    assert thread.error.startswith(f"{tmp_path}/thread.png is 100000×1: its sides differ by more than")


def test_a_photograph_without_enough_memory_is_left_out_alone(run, tmp_path, monkeypatch):
    def small(picture, thumbnail=batches.thumbnail):
        if picture.width == 77:
            raise MemoryError
        return thumbnail(picture)

    monkeypatch.setattr(batches, "thumbnail", small)
    batch = [photograph(tmp_path, "good", (60, 60)), photograph(tmp_path, "huge", (77, 77))]
    good, huge = explain_in_batches([*batch], run)
    assert isinstance(good, Result)
    assert huge.error == f"{tmp_path}/huge.png: there isn't enough memory to prepare it."


def test_photographs_are_read_one_batch_ahead_and_kept_small(run, tmp_path, monkeypatch):
    opened = []

    def opening(path, **limits):
        opened.append(path)
        return open_image(path, **limits)

    monkeypatch.setattr(preprocessing, "open_image", opening)
    many = [photograph(tmp_path, f"{number:02}", (480, 480)) for number in range(20)]
    with closing(explain_in_batches(many, replace(run, batch_size=3))) as results:
        first = next(results)
    assert first.photograph is many[0]
    assert first.size == (480, 480)
    assert first.explanations["agcam"].photographs[0].size == (320, 320)
    assert 3 <= len(opened) <= 3 + 3


def test_settings_reach_the_model(run, tmp_path, monkeypatch):
    given = {}

    def spy(*args, compare=batches.compare, **settings):
        given.update(settings)
        return compare(*args, **{**settings, "compile": False})

    monkeypatch.setattr(batches, "compare", spy)
    photo = photograph(tmp_path, "photo", (60, 40))
    list(explain_in_batches([photo], replace(run, compile=True, precision="bf16")))
    assert given == {
        "compile": True,
        "precision": "bf16",
        "versus": None,
        "score": "logit",
        "kind": "picture",
    }


def test_infinite_maps_fail_their_photograph_only(run, tmp_path):
    (result,) = explain_in_batches([photograph(tmp_path, "photo", (60, 40))], run)
    explanation = result.explanations["agcam"]
    overflowed = replace(explanation, heatmaps=torch.full_like(explanation.heatmaps, torch.inf))
    entry = save(replace(result, explanations={"agcam": overflowed}), run)
    assert isinstance(entry, Failed)
    assert "photo.png: A heatmap must be finite" in entry.error
    assert not run.output.exists()


def test_region_is_what_the_model_sees(run, tmp_path):
    (result,) = explain_in_batches([photograph(tmp_path, "wide", (640, 320))], run)
    entry = save(result, run)
    assert entry.region == Box(160, 0, 480, 320)
    boxes = [box for target in entry.targets for box in target.boxes["agcam"]]
    assert boxes
    assert all(160 <= box.left < box.right <= 480 for box in boxes)


def test_boxes_are_carried_into_the_photograph():
    centre = Box(80, 0, 560, 480)
    assert to_photograph([Box(0, 0, 112, 112)], (224, 224), centre, (640, 480)) == [Box(80, 0, 320, 240)]
    # a border of 80 above and below: what lies in it is cut off, or left out
    padded = Box(0, -80, 640, 560)
    boxes = [Box(0, 0, 14, 56), Box(0, 0, 14, 28)]
    assert to_photograph(boxes, (224, 224), padded, (640, 480)) == [Box(0, 0, 40, 80)]


def test_targets_by_name_synonym_and_index_each_once(tiny):
    model, classes, _ = choose_targets(tiny, ["cup", "tabby", "2"])
    assert model is tiny
    assert classes == [2, 1]


@pytest.mark.parametrize(("asked", "classes"), [([], None), (["top2"], "top2")])
def test_targets_that_depend_on_the_photograph(asked, classes, tiny):
    assert choose_targets(tiny, asked)[1] == classes


def test_top_must_stand_alone(tiny):
    with pytest.raises(TargetError, match="--target top2 must stand alone"):
        choose_targets(tiny, ["cup", "top2"])


@pytest.fixture
def clip():
    """A CLIP of which only the shapes are right."""
    tower = ImageTower(
        timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=8), torch.tensor(9.0)
    )
    return vitcam.LoadedModel(
        tower,
        vitcam.Preprocessing(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        text_encoder=lambda texts: torch.nn.functional.normalize(torch.randn(len(texts), 8), dim=-1),
        spec="open_clip:tiny",
    )


def test_texts_are_the_classes_of_clip(clip, run, tmp_path):
    model, classes, _ = choose_targets(clip, ["a cat, sitting", "top5"])
    assert classes == [0, 1]
    run = replace(run, model=model, targets=classes)
    (result,) = explain_in_batches([photograph(tmp_path, "photo", (60, 40))], run)
    entry = save(result, run)
    assert [target.name for target in entry.targets] == ["a cat, sitting", "top5"]
    assert sum(target.probability for target in entry.targets) == pytest.approx(1)


def test_clip_needs_texts(clip):
    with pytest.raises(TargetError, match=r'open_clip:tiny has no classes of its own.* --target "a cat"'):
        choose_targets(clip, [])


def test_names_are_shortened_to_what_tells_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_names(["photos/cat.jpg"]) == ["cat.jpg"]
    assert short_names(["photos/a/cat.jpg", "photos/cat.jpg", "photos/a/../b/cat.jpg"]) == [
        "a/cat.jpg",
        "cat.jpg",
        "b/cat.jpg",
    ]


@pytest.mark.parametrize(
    ("terminal", "enabled", "seen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_progress_bar_is_for_many_photographs_on_a_terminal(terminal, enabled, seen, capsys):
    console = Console(stderr=True, force_terminal=terminal)
    with progress_bar(console, enabled) as bar:
        assert list(bar.track(range(5), description="Explaining")) == [0, 1, 2, 3, 4]
    assert ("5/5" in capsys.readouterr().err) is seen

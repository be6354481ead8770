"""Runs on mosaics: which photographs they are made of, and which classes are explained."""

from __future__ import annotations

import json
from dataclasses import replace

import miniature
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from vitcam.errors import DatasetError, RunError
from vitcam.evaluation import evaluate, open_dataset
from vitcam.evaluation.store import RunFolder

OPTIONS = {"mosaics": 4, "kind": "focus", "confidence": "0.4"}
SETTINGS = {"protocol": "vitcam", "tests": ["grid-pointing", "energy"], "batch_size": 3, "workers": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, flexible):
    """Coloured photographs, most of them in the folder of the class that the model takes them for."""
    root, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(90):
        pixels = random.integers(0, 256, 3) * 0.8 + random.integers(0, 50, (40, 30, 3))
        photo = Image.fromarray(pixels.astype(np.uint8))
        with torch.no_grad():
            predicted = int(flexible.module(flexible.preprocessing(photo)[None]).argmax())
        name = miniature.CLASSES[predicted if number % 10 else (predicted + 1) % 3]
        (root / name).mkdir(exist_ok=True)
        photo.save(root / name / f"{number:02d}.png")
    (root / miniature.BROKEN).write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def flexible():
    """The miniature model, of images of any size."""
    torch.manual_seed(0)
    own = miniature.make_model()
    module = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3, dynamic_img_size=True
    ).eval()
    module.load_state_dict(own.module.state_dict())
    return replace(own, module=module)


def focus(folder, model, output, told=None, **changed):
    options = {**OPTIONS, **changed.pop("options", {})}
    settings = {**SETTINGS, **changed, "data_options": options}
    tell = (told if told is not None else []).append
    return evaluate(
        "localization", f"mosaic:folder:{folder}", model, ["agcam"], output, tell=tell, **settings
    )


def probabilities(model, folder):
    base = open_dataset(f"folder:{folder}")
    found = {}
    for index in range(len(base)):
        if base.ids[index] != miniature.BROKEN:
            with torch.no_grad():
                logits = model.module(model.preprocessing(base[index].image())[None])[0]
            found[base.ids[index]] = (
                logits.softmax(0).max().item(),
                logits.argmax().item() == base[index].labels[0],
            )
    return found


def test_tiles_are_photographs_that_the_model_is_sure_of(folder, flexible, tmp_path):
    told = []
    summary = focus(folder, flexible, tmp_path / "run", told)
    chosen = json.loads((tmp_path / "run" / "mosaics.json").read_text())
    sure = probabilities(flexible, folder)
    assert chosen["photographs"]
    for id, _ in chosen["photographs"]:
        assert sure[id][1]
        assert sure[id][0] >= 0.4
    assert chosen["unreadable"] in ([], [miniature.BROKEN])
    text = "\n".join(told)
    assert (
        "2×2 photographs that the model classifies rightly with a probability of 0.4 or more, drawn with seed 0"
        in text
    )
    assert "the model sees mosaics of 64×64 pixels, whose tiles are as large as its input, 32×32" in text
    numbers = summary["localization"]
    assert list(numbers) == ["agcam", "random", "center", "oracle"]
    assert numbers["agcam"]["skipped_wrong"] == 0
    assert numbers["oracle"]["positive_inside"] > 0.9 > numbers["center"]["positive_inside"]


def test_each_class_in_a_grid_is_explained_whatever_is_predicted(tmp_path, flexible):
    data = miniature.make_dataset(tmp_path / "data", images=12, broken=False)
    (tmp_path / "data" / "cow").mkdir()
    for file in sorted((tmp_path / "data" / "cat").iterdir())[:2]:
        file.rename(tmp_path / "data" / "cow" / file.name)
    (data / "boxes.csv").unlink()
    classes = ("cat", "cow", "dog", "hen")
    module = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=4
    ).eval()
    model = replace(flexible, module=module, class_names=classes)
    told: list[str] = []
    evaluate(
        "localization",
        f"mosaic:folder:{data}",
        model,
        ["agcam"],
        tmp_path / "run",
        data_options={"confidence": 0, "mosaics": 2},
        tell=told.append,
        **SETTINGS,
    )
    said = "so that a mosaic is as large as the model's input, 32×32: it takes no 64×64 images"
    assert any(f"tiles are downscaled, 2 times in height and width, {said}" in sentence for sentence in told)
    rows = RunFolder(tmp_path / "run").read()
    per_method = rows.filter(pl.col("method") == "agcam")
    assert per_method.height == 8
    assert per_method["correct"].all()
    assert per_method.group_by("image").agg(pl.col("target").sort())["target"].to_list() == [[0, 1, 2, 3]] * 2
    assert (per_method["predicted"] != per_method["target"]).any()
    # the four tiles share what a map has that is the same for all classes
    blind = rows.filter(pl.col("method") == "center").group_by("image").agg(pl.col("positive_inside").sum())
    assert blind["positive_inside"].to_list() == pytest.approx([1, 1])
    with pytest.raises(
        DatasetError, match=r"tiles can't be as large as the model's input, 32×32: it takes no 64×64"
    ):
        evaluate(
            "localization",
            f"mosaic:folder:{data}",
            model,
            ["agcam"],
            tmp_path / "other",
            data_options={"confidence": 0, "tiles": "own"},
            **SETTINGS,
        )
    assert not (tmp_path / "other").exists()


def test_going_on_takes_the_stored_photographs(folder, flexible, tmp_path, monkeypatch):
    whole = focus(folder, flexible, tmp_path / "whole")
    focus(folder, flexible, tmp_path / "run")
    for part in (tmp_path / "run" / "rows").glob("part*"):
        part.unlink()

    def never(*_, **__):
        raise AssertionError("the photographs were chosen anew")

    monkeypatch.setattr("vitcam.evaluation.sure._sure", never)
    again = focus(folder, flexible, tmp_path / "run")
    assert again == whole
    monkeypatch.undo()
    with pytest.raises(RunError, match=r"dataset\.(notes|fingerprint)"):
        focus(folder, flexible, tmp_path / "run", options={"seed": 1})
    (tmp_path / "run" / "mosaics.json").write_text('{"of": 3}')
    with pytest.raises(
        RunError, match=r"mosaics\.json can't be read .* which photographs the mosaics of this run"
    ):
        focus(folder, flexible, tmp_path / "run")


def test_nobody_is_sure_of_enough(folder, flexible, tmp_path):
    with pytest.raises(
        DatasetError, match=r"that the model is sure of \(confidence 0\.999\).*lower .*confidence"
    ):
        focus(folder, flexible, tmp_path / "run", options={"confidence": "0.999"})
    assert not (tmp_path / "run").exists()


def test_a_batch_of_mosaics_is_mosaics_one_by_one(folder, flexible, tmp_path):
    focus(folder, flexible, tmp_path / "three")
    focus(folder, flexible, tmp_path / "one", batch_size=1)
    three, one = (
        RunFolder(tmp_path / name).read().drop("photograph", "annotation") for name in ("three", "one")
    )
    assert three.select(pl.exclude(pl.Float64)).equals(one.select(pl.exclude(pl.Float64)))
    for column in ("positive_inside", "energy"):
        np.testing.assert_allclose(three[column], one[column], atol=1e-5)

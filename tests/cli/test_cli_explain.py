"""What ``vitcam explain`` writes and prints, on the embedded model and the shipped photographs."""

import json
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image

import vitcam as library
from vitcam.cli.explaining import saving

METHODS = ("agcam", "attention(layer=3)")


@pytest.fixture(scope="module")
def run(vitcam, photos, tmp_path_factory):
    """All shipped photographs, top 3, two methods, boxes: (result, folder, manifest)."""
    folder = tmp_path_factory.mktemp("explain") / "out"
    methods = [argument for name in METHODS for argument in ("--method", name)]
    result = vitcam("explain", photos, "--target", "top3", *methods, "--boxes", "--output", folder)
    return result, folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def entry(manifest, name):
    (found,) = [image for image in manifest["images"] if image["file"].endswith(f"/{name}")]
    return found


def test_everything_that_the_manifest_names_is_there_and_nothing_else(run):
    result, folder, manifest = run
    assert result.exit_code == 0, result.stderr
    named = {"manifest.json", "index.html"}
    for image in manifest["images"]:
        named |= {image["panel"], *image["maps"].values()}
    assert named == {file.name for file in folder.iterdir()}
    assert len(named) == 2 + 4 * 3


def test_manifest_says_what_was_done(run):
    _, _, manifest = run
    said = {
        "format",
        "versions",
        "model",
        "methods",
        "versus",
        "score",
        "precision",
        "threshold",
        "tiles",
        "images",
    }
    assert set(manifest) == said
    assert (manifest["versus"], manifest["score"]) == (None, "logit")
    assert manifest["format"] == 1
    assert manifest["versions"]["vitcam"] == library.__version__
    assert manifest["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(manifest["versions"]) == {"vitcam", "torch", "timm", "python"}
    assert manifest["model"] == {"spec": "embedded:photo", "input": {"width": 168, "height": 168}}
    assert [method["name"] for method in manifest["methods"]] == list(METHODS)
    assert manifest["methods"][1]["options"] == {"layer": 3, "heads": "mean", "query": "head"}
    assert manifest["methods"][0]["paper"] == "arXiv 2402.04563"
    assert (manifest["precision"], manifest["threshold"]) == ("fp32", 0.5)


def test_manifest_has_what_is_known_of_each_photograph(run, photos):
    _, _, manifest = run
    assert [image["file"] for image in manifest["images"]] == [
        str(photos / name) for name in ("astronaut.jpg", "cat.jpg", "cat_and_cup.jpg", "cup.jpg")
    ]
    cup = entry(manifest, "cup.jpg")
    assert set(cup) == {"file", "width", "height", "region", "predicted", "targets", "panel", "maps", "tiles"}
    assert cup["tiles"] is None
    assert manifest["tiles"] is None
    assert (cup["width"], cup["height"]) == (600, 400)
    assert cup["region"] == {"left": 0, "top": 0, "right": 600, "bottom": 400}
    assert cup["maps"] == {"agcam": "cup.agcam.npy", "attention(layer=3)": "cup.attention_layer=3.npy"}
    assert cup["panel"] == "cup.panel.png"


def test_probabilities_are_the_models(run, model, photos):
    _, _, manifest = run
    image = entry(manifest, "cat_and_cup.jpg")
    with torch.inference_mode():
        expected = model.module(model.preprocess(photos / "cat_and_cup.jpg")).softmax(1)[0]
    values, indices = expected.topk(5)
    assert [one["index"] for one in image["predicted"]] == indices.tolist()
    assert [one["name"] for one in image["predicted"]] == [model.class_names[i] for i in indices]
    assert [one["probability"] for one in image["predicted"]] == pytest.approx(values.tolist(), abs=1e-4)
    keys = ("index", "name", "probability")
    targets = [{key: target[key] for key in keys} for target in image["targets"]]
    assert targets == image["predicted"][:3]


def test_maps_are_the_librarys(run, model, photos):
    _, folder, manifest = run
    for name in METHODS:
        stored = np.load(folder / entry(manifest, "cup.jpg")["maps"][name])
        expected = library.explain(model, photos / "cup.jpg", method=name, targets="top3").heatmaps[0]
        assert (stored.dtype, stored.shape) == (np.dtype("float32"), (3, 12, 12))
        np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_boxes_are_in_the_photographs_pixels(run):
    _, folder, manifest = run
    image = entry(manifest, "cup.jpg")
    maps = np.load(folder / image["maps"]["agcam"])
    for heat, target in zip(maps, image["targets"], strict=True):
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        x, y = (column + 0.5) / 12 * 600, (row + 0.5) / 12 * 400
        boxes = target["boxes"]["agcam"]
        assert any(b["left"] <= x < b["right"] and b["top"] <= y < b["bottom"] for b in boxes)
        for b in boxes:
            assert 0 <= b["left"] < b["right"] <= 600
            assert 0 <= b["top"] < b["bottom"] <= 400
        areas = [(b["right"] - b["left"]) * (b["bottom"] - b["top"]) for b in boxes]
        assert areas[0] >= 0.9 * max(areas)  # rounding may change the order


def test_classes_are_found_on_their_objects(vitcam, photos, tmp_path):
    result = vitcam("explain", photos / "cat_and_cup.jpg", "-t", "cat", "-t", "cup", "-o", tmp_path)
    assert result.exit_code == 0, result.stderr
    cat, cup = np.load(tmp_path / "cat_and_cup.agcam.npy")
    assert cat[:6].mean() > 1.5 * cat[6:].mean()  # the cat is in the upper half
    assert cup[6:].mean() > 1.5 * cup[:6].mean()
    assert cat.argmax() < 6 * 12 <= cup.argmax()


def test_panel_has_a_column_per_method_and_a_row_per_class(run, vitcam, photos, tmp_path):
    _, folder, _ = run
    assert vitcam("explain", photos / "cat.jpg", "-t", "top3", "-o", tmp_path).exit_code == 0
    with Image.open(folder / "cat.panel.png") as many, Image.open(tmp_path / "cat.panel.png") as one:
        assert one.format == "PNG"
        assert one.width > 3 * one.height  # a row: the photograph and three classes
        assert many.height > 2 * one.height  # three rows


def test_boxes_are_drawn_when_asked_for_only(vitcam, photos, tmp_path):
    plain, boxed = tmp_path / "plain", tmp_path / "boxed"
    assert vitcam("explain", photos / "cup.jpg", "-o", plain).exit_code == 0
    assert vitcam("explain", photos / "cup.jpg", "-o", boxed, "--boxes", "--threshold", 0.3).exit_code == 0
    manifest = json.loads((plain / "manifest.json").read_text())
    assert manifest["threshold"] is None
    assert manifest["images"][0]["targets"][0]["boxes"] is None
    whites = [
        (np.asarray(Image.open(folder / "cup.panel.png"))[60:-60, 400:] == 255).all(-1).sum()
        for folder in (plain, boxed)
    ]
    assert whites[1] > whites[0] + 500


def test_tables_are_readable_when_piped(run):
    result, _, _ = run
    *lines, summary = result.stdout.splitlines()
    assert "\x1b" not in result.stdout
    assert max(map(len, lines)) <= 120
    (line,) = [line for line in lines if "cat_and_cup.jpg" in line and "%" in line]
    assert line.split()[:3] == ["cat_and_cup.jpg", "●", "cat"]
    (cup,) = [line for line in lines if "cup.jpg" in line and "%" in line and "cat" not in line]
    assert cup.split()[:5] == ["cup.jpg", "●", "cup", "81.8", "%"]
    assert sum("%" in line for line in lines) == 4 * 5
    assert sum("●" in line for line in lines) == 4 * 3 + 1  # and what the mark means
    assert "4 panels, 8 files of maps and manifest.json are in " in summary


def test_boxes_are_listed(run):
    result, _, manifest = run
    number = sum(
        len(boxes)
        for image in manifest["images"]
        for target in image["targets"]
        for boxes in target["boxes"].values()
    )
    listed = result.stdout[result.stdout.index("Bottom") :].splitlines()
    assert sum(line.rstrip()[-1:].isdigit() for line in listed) == number
    first = entry(manifest, "astronaut.jpg")["targets"][0]["boxes"]["agcam"][0]
    row = next(line for line in listed if "astronaut.jpg" in line).split()
    assert row == ["astronaut.jpg", "face", "agcam", *(str(edge) for edge in first.values())]


def test_explained_class_that_is_not_among_the_five_is_listed_too(vitcam, photos, tmp_path):
    result = vitcam("explain", photos / "cup.jpg", "-t", "Piano", "-o", tmp_path)
    (piano,) = [line for line in result.stdout.splitlines() if "piano" in line]
    assert piano.split()[:2] == ["●", "piano"]
    assert sum("%" in line for line in result.stdout.splitlines()) == 6


def test_predicted_class_is_explained_by_default(vitcam, photos, tmp_path):
    assert vitcam("explain", photos / "cup.jpg", "-o", tmp_path).exit_code == 0
    (image,) = json.loads((tmp_path / "manifest.json").read_text())["images"]
    assert [target["name"] for target in image["targets"]] == ["cup"]
    assert np.load(tmp_path / "cup.agcam.npy").shape == (1, 12, 12)


def test_batches_of_any_size_give_the_same(run, vitcam, photos, tmp_path):
    _, folder, _ = run
    methods = [argument for name in METHODS for argument in ("--method", name)]
    arguments = ("explain", photos, "-t", "top3", *methods, "--batch-size", 3, "-o", tmp_path)
    assert vitcam(*arguments).exit_code == 0
    for file in folder.glob("*.npy"):
        expected = np.load(file)
        np.testing.assert_allclose(
            np.load(tmp_path / file.name), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
        )


def test_order_of_the_manifest_is_that_of_the_photographs(vitcam, photos, tmp_path, monkeypatch):
    def slow_at_first(result, run, save=saving.save):
        time.sleep(0.2 if result.photograph.name == "astronaut" else 0)
        return save(result, run)

    monkeypatch.setattr(saving, "save", slow_at_first)
    assert vitcam("explain", photos, "-o", tmp_path).exit_code == 0
    images = json.loads((tmp_path / "manifest.json").read_text())["images"]
    assert [image["panel"].partition(".")[0] for image in images] == [
        "astronaut",
        "cat",
        "cat_and_cup",
        "cup",
    ]


def test_speed_is_told(run):
    assert re.search(r"are in \S+ \(\d+\.\d photographs/s\)$", run[0].stdout.strip())


def test_one_class_versus_another(vitcam, photos, model, tmp_path):
    asked = ("--target", "cat", "--versus", "cup", "--score", "probability", "--method", "gradcam++")
    result = vitcam("explain", photos / "cat_and_cup.jpg", *asked, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["versus"] == {"index": model.class_index("cup"), "name": "cup"}
    assert manifest["score"] == "probability"
    (file,) = manifest["images"][0]["maps"].values()
    maps = np.load(tmp_path / "out" / file)
    expected = library.explain(
        model, photos / "cat_and_cup.jpg", "gradcam++", ["cat"], versus="cup", score="probability"
    )
    np.testing.assert_allclose(maps, expected.heatmaps[0].numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--versus", "unicorn"], "unicorn"),
        (["--versus", "top2"], "--versus names one class"),
        (["--target", "cat", "--versus", "cat"], "versus is the class that is explained itself"),
        (["--versus", "cat", "--method", "rollout"], "rollout gives the same map for every class"),
        (["--score", "odds"], "odds"),
    ],
)
def test_versus_and_score_that_can_not_be_meant(vitcam, photos, tmp_path, asked, message):
    result = vitcam("explain", photos / "cup.jpg", *asked, "--output", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_map_that_is_mostly_chance_is_a_note(vitcam, photos, tmp_path):
    asked = ["explain", photos / "cat.jpg", "--method", "rise(budget=2)", "--output", tmp_path / "out"]
    result = vitcam(*asked)
    assert result.exit_code == 0
    (note,) = [line for line in result.stderr.splitlines() if "Warning" in line or "Note" in line]
    assert note.startswith("Note: rise(budget=2) needs more samples")

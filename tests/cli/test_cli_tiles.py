"""``vitcam explain --tiles`` and ``--bands``."""

import json

import numpy as np
import pytest
from PIL import Image

import vitcam as library


def test_a_photograph_in_tiles(vitcam, model, photos, tmp_path):
    photo = tmp_path / "cup.png"
    Image.open(photos / "cup.jpg").resize((300, 200)).save(photo)
    arguments = ["explain", photo, "--tiles", "168,24", "--target", "cat", "--target", "cup", "--boxes"]
    result = vitcam(*arguments, "--method", "agcam", "--method", "gradcam", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    tmp_path = tmp_path / "out"
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["tiles"] == {"size": 168, "overlap": 24}
    (image,) = manifest["images"]
    expected = library.compare(model, photo, ["agcam", "gradcam"], ["cat", "cup"], tiles=(168, 24))
    for name, file in image["maps"].items():
        np.testing.assert_allclose(np.load(tmp_path / file), expected[name].heatmaps[0], rtol=1e-5)
    logits = np.load(tmp_path / image["tiles"]["logits"])
    np.testing.assert_allclose(logits, expected["agcam"].tile_logits[0], rtol=1e-5)
    assert [tuple(place) for place in image["tiles"]["places"]] == list(expected["agcam"].tiles)
    whole = {"left": 0, "top": 0, "right": image["width"], "bottom": image["height"]}
    assert image["region"] == whole
    for one, name in zip(image["tiles"]["highest"], ("cat", "cup"), strict=True):
        column = logits[:, model.class_index(name)]
        assert (one["name"], one["tile"]) == (name, int(column.argmax()))
        assert (one["logit"], one["mean"]) == pytest.approx((column.max(), column.mean()), abs=1e-4)
        assert f"{column.max():.2f}" in result.stdout
    for target in image["targets"]:
        for box in target["boxes"]["agcam"]:
            assert 0 <= box["left"] < box["right"] <= image["width"]
            assert 0 <= box["top"] < box["bottom"] <= image["height"]


def test_one_too_small_for_a_tile_does_not_stop_the_others(vitcam, photos, tmp_path):
    Image.open(photos / "cat.jpg").resize((100, 80)).save(tmp_path / "small.png")
    result = vitcam(
        "explain", tmp_path / "small.png", photos / "cat.jpg", "--tiles", "168,0", "-o", tmp_path / "out"
    )
    assert result.exit_code == 1
    assert "small.png: the picture is 80 high and 100 wide, smaller than a tile" in " ".join(
        result.stderr.split()
    )
    assert (tmp_path / "out" / "cat.panel.png").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [("168", "expected SIZE,OVERLAP"), ("168,168", "smaller than a tile"), ("a,b", "such as")],
)
def test_tiles_that_are_none_are_said_before_any_work(vitcam, photos, tmp_path, given, said):
    result = vitcam("explain", photos / "cat.jpg", "--tiles", given, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_what_colours_count(vitcam, model, photos, tmp_path):
    arguments = ["explain", photos / "cup.jpg", "-t", "cup", "--bands", "-o", tmp_path]
    result = vitcam(*arguments, "--method", "attnlrp", "--method", "agcam")
    assert result.exit_code == 0, result.stderr
    (image,) = json.loads((tmp_path / "manifest.json").read_text())["images"]
    (target,) = image["targets"]
    e = library.explain(model, photos / "cup.jpg", "attnlrp", targets="cup")
    assert list(target["bands"]) == ["attnlrp"]  # agcam doesn't tell
    found = target["bands"]["attnlrp"]
    assert [one["name"] for one in found] == ["red", "green", "blue"]
    assert [one["sum"] for one in found] == pytest.approx(e.bands[0, 0].tolist(), rel=1e-3)
    assert [one["share"] for one in found] == pytest.approx(e.band_shares[0, 0].tolist(), rel=1e-3)
    assert f"({found[0]['sum']:+.3g})" in result.stdout
    refused = vitcam(*arguments, "--method", "agcam")
    assert refused.exit_code != 0
    assert "agcam doesn't tell what bands count" in " ".join(refused.stderr.split())

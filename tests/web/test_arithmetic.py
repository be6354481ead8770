"""The page's arithmetic against Python's: what the model is given, and how its map is drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitcam.heatmap import normalize, upsample
from vitcam.models.preprocessing import Preprocessing
from vitcam.render import overlay
from vitcam.render.colors import color_table

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node isn't installed")
GENERATOR = np.random.default_rng(0)
NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def answer(call: str, **given: Any) -> dict[str, Any]:
    bridge = Path(__file__).parent / "bridge.mjs"
    done = subprocess.run(
        [str(NODE), str(bridge)], input=json.dumps({"call": call, **given}), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def value(call: str, **given: Any) -> Any:
    return answer(call, **given)["value"]


def noise(width: int, height: int) -> Image.Image:
    """Hard edges and noise, where resizing that is a little off is off a lot."""
    pixels = GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = 255
    pixels[height // 2 :, width // 2 :] = 0
    return Image.fromarray(pixels)


def picture(image: Image.Image) -> dict[str, Any]:
    rgba = np.asarray(image.convert("RGBA")).ravel().tolist()
    return {"rgba": rgba, "width": image.width, "height": image.height}


def heatmap(values: np.ndarray) -> dict[str, Any]:
    return {"values": values.ravel().tolist(), "height": values.shape[0], "width": values.shape[1]}


@pytest.mark.parametrize("interpolation", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("size", "target"),
    [((163, 101), (28, 42)), ((9, 13), (40, 31)), ((2000, 3), (16, 3)), ((16, 16), (16, 16))],
)
def test_resizes_as_pillow_to_the_bit(
    interpolation: str, size: tuple[int, int], target: tuple[int, int]
) -> None:
    image = noise(*size)
    expected = np.asarray(image.resize(target, Image.Resampling[interpolation.upper()]))
    resized = value(
        "resize",
        picture=picture(image),
        target={"width": target[0], "height": target[1]},
        interpolation=interpolation,
    )
    assert np.array_equal(np.reshape(resized, expected.shape), expected)


SETTINGS = {
    "squash": {"size": (28, 42)},
    "squash, crop": {"size": (28, 28), "resize": (32, 33)},
    "shortest": {"size": (28, 28), "resize": (31, 31), "resize_mode": "shortest"},
    "shortest, not square": {"size": (28, 42), "resize": (30, 44), "resize_mode": "shortest"},
    "longest, padded": {"size": (28, 28), "resize_mode": "longest", "fill": (124, 116, 104)},
    "padded on all sides": {"size": (33, 32), "resize": (24, 25), "interpolation": "bilinear"},
}


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (20, 20)])
@pytest.mark.parametrize("name", SETTINGS)
def test_prepares_as_preprocessing(name: str, size: tuple[int, int]) -> None:
    settings: dict[str, Any] = {
        "interpolation": "bicubic",
        "resize": None,
        "resize_mode": "squash",
        "fill": (0, 0, 0),
        "arithmetic": "pil",
        **NORMAL,
        **SETTINGS[name],
    }
    image, prepare = noise(*size), Preprocessing(**settings)
    expected = prepare(image)
    given = value("input", picture=picture(image), preprocessing=settings)
    assert torch.equal(torch.tensor(given).view(expected.shape), expected)
    region = value("region", size={"width": size[0], "height": size[1]}, preprocessing=settings)
    box = prepare.region(size)
    assert list(region.values()) == pytest.approx([box.left, box.top, box.width, box.height])


@pytest.mark.parametrize("size", [(90, 61), (61, 91)])
def test_crops_where_hugging_face_does(size: tuple[int, int]) -> None:
    settings: dict[str, Any] = {
        "size": (28, 28),
        "resize": (31, 31),
        "resize_mode": "shortest",
        "arithmetic": "uint8",
    }
    region = value("region", size={"width": size[0], "height": size[1]}, preprocessing=settings)
    box = Preprocessing(**settings, **NORMAL).region(size)
    assert list(region.values()) == pytest.approx([box.left, box.top, box.width, box.height])


@pytest.mark.parametrize("size", [(17, 24), (4, 5), (1, 1), (2, 3)])
def test_upsamples_as_heatmap(size: tuple[int, int]) -> None:
    raw = GENERATOR.normal(size=(4, 5)).astype(np.float32)
    expected = upsample(torch.from_numpy(raw)[None, None], size)[0, 0]
    stretched = value("upsampled", heatmap=heatmap(raw), height=size[0], width=size[1])
    assert torch.allclose(torch.tensor(stretched).view(size), expected, atol=1e-6)


@pytest.mark.parametrize(
    "raw",
    [
        GENERATOR.normal(size=(4, 5)),
        np.full((3, 3), 7.1),
        np.zeros((2, 2)),
        np.full((2, 2), 3) + np.eye(2) * 3e-7,
    ],
    ids=["noise", "constant", "zeros", "constant up to rounding"],
)
def test_normalizes_as_heatmap(raw: np.ndarray) -> None:
    raw = raw.astype(np.float32)
    expected = normalize(torch.from_numpy(raw))
    scaled = torch.tensor(value("normalized", heatmap=heatmap(raw)), dtype=torch.float32)
    assert torch.allclose(scaled.view(raw.shape), expected, atol=1e-6)


@pytest.mark.parametrize("opacity", [0, 0.35, 0.75, 1])
def test_overlays_as_render_to_the_bit(opacity: float) -> None:
    image = noise(48, 64)
    heat = GENERATOR.random((64, 48)).astype(np.float32)
    heat[0, :3] = 0, 1, 0.8686274290084839  # times 255 halfway between two bytes in float32, not in float64
    expected = np.asarray(overlay(image, heat, opacity=opacity).convert("RGBA"))
    drawn = value("overlay", rgba=picture(image)["rgba"], heat=heat.ravel().tolist(), opacity=opacity)
    assert np.array_equal(np.reshape(drawn, expected.shape), expected)


def test_probabilities_of_large_logits_stay_finite() -> None:
    logits = torch.tensor([-1000.0, 3.0, 2.5, 800.0, 799.0], dtype=torch.float64)
    told = value("probabilities", logits=logits.tolist())
    assert told["softmax"] == pytest.approx(logits.softmax(0).tolist())
    assert told["sigmoid"] == pytest.approx(logits.sigmoid().tolist())


def test_colours_are_render_s() -> None:
    assert value("colors") == color_table("inferno").ravel().tolist()


def test_the_outline_runs_halfway_between_a_hot_pixel_and_its_cold_neighbours() -> None:
    heat = np.zeros((4, 5))
    heat[1, 2] = 1
    segments = value("outline", heatmap=heatmap(heat), threshold=0.5)
    corners = {(round(x * 5, 6), round(y * 4, 6)) for a, b, c, d in segments for x, y in ((a, b), (c, d))}
    assert corners == {(2.5, 1.0), (3.0, 1.5), (2.5, 2.0), (2.0, 1.5)}
    assert len(segments) == 4


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_an_outline_is_closed_wherever_heat_lies(threshold: float) -> None:
    segments = value("outline", heatmap=heatmap(GENERATOR.random((9, 7))), threshold=threshold)
    ends: dict[tuple[float, float], int] = {}
    for a, b, c, d in segments:
        for end in ((round(a, 9), round(b, 9)), (round(c, 9), round(d, 9))):
            ends[end] = ends.get(end, 0) + 1
    assert segments
    # at the edge of the picture points may fall together, but never alone
    assert all(count % 2 == 0 for count in ends.values())


def test_a_model_is_looked_for_on_the_page_s_own_server_alone() -> None:
    page = "https://here.example/vitcam/index.html"
    assert value("address", page=page) == {
        "weights": "https://here.example/vitcam/model/model.onnx.gz",
        "description": "https://here.example/vitcam/model/model.json",
    }
    own = value("address", page=f"{page}?model=../own/vit.onnx")
    assert own["description"] == "https://here.example/own/vit.json"
    for elsewhere in ("https://there.example/m.onnx", "//there.example/m.onnx", "data:,m.onnx", "http://["):
        told = answer("address", page=f"{page}?model={elsewhere}")["error"]
        assert told.endswith("isn't on this page's server. ?model= takes a path on the same server.")
    told = answer("address", page=f"{page}?model=photo.png")["error"]
    assert "isn't an .onnx file" in told


def test_a_description_that_the_page_cannot_follow_is_refused() -> None:
    good = {"grid": [12, 12], "preprocessing": {"size": [28, 28], "interpolation": "bicubic", **NORMAL}}
    assert value("checked", description=good)["preprocessing"]["resize_mode"] == "squash"
    assert "how photographs are prepared" in answer("checked", description={"grid": [1, 1]})["error"]
    good["preprocessing"]["interpolation"] = "nearest"  # type: ignore[index]
    assert 'resized with "nearest"' in answer("checked", description=good)["error"]

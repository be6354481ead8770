"""The page in a browser: a photograph is dropped, and what it says is what Python says."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from visitor import DIST, Page

import vitcam
from vitcam.heatmap import normalize
from vitcam.photos import photo_path

Open = Callable[..., Page]
PHOTO = photo_path("cat_and_cup")
MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def model() -> vitcam.LoadedModel:
    return vitcam.load_model("embedded:photo")


def differences(
    page: Page, model: vitcam.LoadedModel, photo: Path, method: str = "agcam"
) -> tuple[float, float]:
    """How far the page's probabilities and its normalised maps are from Python's; the classes are the same."""
    result = page.result
    classes = [one["index"] for one in result["classes"]]
    e = vitcam.explain(model, photo, method, targets=torch.tensor([classes]))
    probabilities = e.probabilities[0]
    assert classes[:5] == vitcam.explain(model, photo, targets="top5").targets[0].tolist()
    assert [one["name"] for one in result["classes"]] == [e.label(0, t) for t in range(len(classes))]
    maps = torch.tensor([one["map"]["values"] for one in result["classes"]]).view(e.heatmaps[0].shape)
    off = (normalize(maps) - normalize(e.heatmaps[0])).abs().max()
    return float((torch.tensor(result["probabilities"]) - probabilities).abs().max()), float(off)


def test_a_dropped_photograph_is_explained_as_in_python(page: Page, model: vitcam.LoadedModel):
    page.drop(PHOTO)
    assert page.error == ""
    probability, heat = differences(page, model, PHOTO)
    print(f"probabilities within {probability:.0e}, maps within {heat:.0e}")  # pytest -rP shows it
    print(page.tab.text_content("#time"), page.tab.text_content("#model"))
    assert probability < 1e-4
    assert heat < 1e-3
    assert page.tab.text_content("#map-caption") == "Where it looks for cat, 26.3 %"
    assert page.tab.text_content("#status").startswith("cat_and_cup.jpg: cat, 26.3")
    assert "1 thread" in page.tab.text_content("#model")


def test_a_model_of_one_s_own_by_another_method(open_page: Open, model: vitcam.LoadedModel):
    exported = DIST / "model" / "tempercam.onnx"
    try:
        options = ["--model=embedded:photo", "--method=tempercam", "--classes=all", "--no-timing"]
        subprocess.run(
            [sys.executable, "-m", "vitcam", "export", *options, f"--output={exported}"], check=True
        )
        page = open_page("?model=model/tempercam.onnx")
        page.drop(PHOTO)
        assert page.error == ""
        probability, heat = differences(page, model, PHOTO, "tempercam")
        page.screenshot("tempercam")
    finally:
        exported.unlink(missing_ok=True)
        exported.with_suffix(".json").unlink(missing_ok=True)
    assert "tempercam" in page.tab.text_content("#model")
    assert probability < 1e-4
    assert heat < 1e-3


def test_with_threads_where_the_server_allows_them(open_page: Open, model: vitcam.LoadedModel):
    page = open_page("isolated/")
    page.drop(PHOTO)
    threads = min(4, os.cpu_count() or 1)
    assert page.tab.text_content("#model").endswith("1 thread" if threads == 1 else f"{threads} threads")
    assert max(differences(page, model, PHOTO)) < 1e-3


def turned(path: Path) -> None:
    """Lies on its side, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(PHOTO).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95, subsampling=0)


def transparent(path: Path) -> None:
    picture = Image.open(photo_path("cup")).convert("RGBA")
    alpha = np.linspace(0, 255, picture.width).astype(np.uint8)[None].repeat(picture.height, axis=0)
    picture.putalpha(Image.fromarray(alpha))
    picture.save(path)


def grey(path: Path) -> None:
    Image.open(photo_path("cat")).convert("L").save(path)


def palette(path: Path) -> None:
    Image.open(photo_path("astronaut")).convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def linear(path: Path) -> None:
    """Says that its values are linear light; Pillow doesn't listen, nor did the photographs the model has learnt."""
    info = PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    Image.open(photo_path("cat")).save(path, pnginfo=info)


def large(path: Path) -> None:
    """Twelve megapixels: read in strips."""
    Image.open(photo_path("cup")).resize((4000, 3000), Image.Resampling.BICUBIC).save(
        path, quality=90, subsampling=0
    )


def animated(path: Path) -> None:
    """The first frame counts."""
    frames = [Image.open(photo_path(name)).resize((300, 300)) for name in ("cat", "cup", "astronaut")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0, lossless=True)


def narrow(path: Path) -> None:
    Image.open(PHOTO).resize((20, 900)).save(path, lossless=True)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (turned, "turned.jpg"),
        (transparent, "transparent.png"),
        (grey, "grey.png"),
        (palette, "palette.gif"),
        (linear, "linear.png"),
        (large, "large.jpg"),
        (animated, "animated.webp"),
        (animated, "animated.gif"),
        (narrow, "narrow.webp"),
    ],
    ids=["EXIF", "transparent", "grey", "palette", "gamma", "large", "animated", "animated GIF", "narrow"],
)
def test_any_photograph_is_read_as_python_reads_it(
    page: Page, model: vitcam.LoadedModel, tmp_path: Path, make: Any, name: str
):
    make(tmp_path / name)
    page.drop(tmp_path / name)
    assert page.error == ""
    probability, heat = differences(page, model, tmp_path / name)
    assert probability < 2e-3
    assert heat < 2e-2


def test_another_class_is_chosen_with_the_keyboard(page: Page):
    page.drop(PHOTO)
    before = page.tab.evaluate("document.getElementById('map').toDataURL()")
    page.tab.focus("#top input:checked")
    page.tab.keyboard.press("ArrowDown")
    assert page.tab.text_content("#map-caption b") == "cup"
    assert (
        page.tab.get_attribute("#map", "aria-label")
        == "Map of where the model looks for cup, over the photograph"
    )
    assert page.tab.evaluate("document.getElementById('map').toDataURL()") != before
    page.tab.click("#others-title")
    page.tab.fill("#search", "DOG")
    names = page.tab.locator("#rest .class:visible .name").all_text_contents()
    assert names
    assert all("dog" in name for name in names)


def test_everything_can_be_reached_with_the_keyboard(page: Page):
    page.drop(PHOTO)
    page.tab.evaluate("document.getElementById('others').open = false")
    page.tab.click("h1")
    reached = []
    for _ in range(12):
        page.tab.keyboard.press("Tab")
        reached.append(
            page.tab.evaluate(
                "(({ id, name, dataset, tagName }) => id || name || dataset.photo || tagName)(document.activeElement)"
            )
        )
    examples = [f"{name}.jpg" for name in ("cat_and_cup", "cat", "cup", "astronaut")]
    controls = ["opacity", "outlined", "threshold", "shown", "save"]
    assert reached == ["file", *examples, *controls, "class", "others-title"]
    page.tab.focus("[data-photo='cup.jpg']")
    page.forget()
    page.tab.keyboard.press("Enter")
    page.wait_for("explained")
    assert page.result["name"] == "cup.jpg"


def test_a_screen_reader_finds_names_for_everything(page: Page):
    page.drop(PHOTO)
    page.tab.evaluate("document.getElementById('others').open = true")
    tree = page.tab.locator("body").aria_snapshot()
    for expected in (
        'heading "Where does it look?"',
        'button "a cat and a cup"',
        'img "The photograph cat_and_cup.jpg"',
        'img "Map of where the model looks for cat, over the photograph"',
        'slider "Opacity"',
        'slider "Threshold of the outline"',
        'group "Class that the map explains"',
        'radio "cat 26.3 %" [checked]',
        'searchbox "Find a class"',
        'status: "cat_and_cup.jpg: cat, 26.3 %."',
    ):
        assert expected in tree, tree


def test_it_opens_again_without_a_network(leaving: tuple[Page, Callable[[], None]]):
    page, leave = leaving
    leave()
    page.tab.reload()
    page.wait_for("ready", "failed")
    assert page.error == ""
    page.forget()
    page.tab.click("[data-photo='cup.jpg']")
    page.wait_for("explained")
    assert page.result["classes"][0]["name"] == "cup"


def test_a_visitor_loads_less_than_25_megabytes(page: Page):
    assert 10e6 < page.tab.evaluate("window.vitcam.bytes") < 25e6


def test_examples_and_the_file_dialog_are_further_ways_in(page: Page):
    page.forget()
    page.tab.click("[data-photo='cup.jpg']")
    page.wait_for("explained")
    assert page.result["classes"][0]["name"] == "cup"
    page.forget()
    page.tab.set_input_files("#file", photo_path("astronaut"))
    page.wait_for("explained")
    assert page.result["classes"][0]["name"] == "face"


def test_a_pasted_picture_is_explained(page: Page):
    page.forget()
    page.tab.evaluate(
        """async () => {
          const picture = await (await fetch("photos/cat.jpg")).blob();
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([picture], "image.jpg", { type: picture.type }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    page.wait_for("explained")
    assert page.result["name"] == "image.jpg"
    assert page.result["classes"][0]["name"] == "cat"


def test_of_two_photographs_the_later_one_wins(page: Page):
    page.forget()
    page.let_fall(photo_path("cup"))
    page.let_fall(photo_path("cat"))
    page.wait_for("explained")
    page.tab.wait_for_timeout(1500)
    assert page.result["name"] == "cat.jpg"
    assert page.tab.text_content("#photograph-caption").startswith("cat.jpg")


def test_the_map_is_saved_with_the_names_of_photograph_and_class(page: Page, tmp_path: Path):
    page.drop(PHOTO)
    with page.tab.expect_download() as download:
        page.tab.click("#save")
    assert download.value.suggested_filename == "cat_and_cup-cat.png"
    download.value.save_as(tmp_path / "map.png")
    assert max(Image.open(tmp_path / "map.png").size) == 960


def wrong_files(folder: Path) -> dict[str, Path]:
    names = ("notes.txt", "empty.jpg", "drawing.svg", "fake.jpg", "half.png", "huge.png")
    files = {name: folder / name for name in names}
    files["drawing.svg"].write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    files["notes.txt"].write_text("no photograph")
    files["empty.jpg"].touch()
    files["fake.jpg"].write_bytes(b"this is no JPEG")
    Image.effect_noise((300, 300), 50).save(files["half.png"])
    files["half.png"].write_bytes(files["half.png"].read_bytes()[:2000])
    Image.new("1", (10_000, 9_000)).save(files["huge.png"])
    return files


def test_a_file_that_is_no_photograph_is_told_and_the_last_map_stays(page: Page, tmp_path: Path):
    page.drop(PHOTO)
    told = {}
    for name, file in wrong_files(tmp_path).items():
        page.drop(file)
        told[name] = page.error
        assert page.tab.is_visible("#error")
        assert page.tab.text_content("#photograph-caption") == "cat_and_cup.jpg, 540×612"
    formats = "Choose a photograph: JPEG, PNG, WebP or AVIF."
    assert told == {
        "notes.txt": f"notes.txt isn't an image, it is text/plain. {formats}",
        "empty.jpg": "empty.jpg is empty (0 bytes). Choose a photograph.",
        "drawing.svg": f"drawing.svg is a drawing (SVG). {formats}",
        "fake.jpg": f"fake.jpg isn't an image that this browser can read, or it is damaged. {formats}",
        "half.png": "half.png can't be decoded: it is damaged, or its pixels don't fit into memory.",
        "huge.png": "huge.png is too large: 10000×9000 pixels. At most 89 megapixels are read; "
        "make it smaller first.",
    }
    page.drop(PHOTO)
    assert not page.tab.is_visible("#error")


def test_markup_in_a_file_s_name_stays_text(page: Page, tmp_path: Path):
    photo, text = tmp_path / f"{MARKUP}.jpg", tmp_path / f"{MARKUP}.txt"
    photo.write_bytes(PHOTO.read_bytes())
    text.write_text("")
    page.drop(photo)
    assert page.tab.text_content("#photograph-caption") == f"{MARKUP}.jpg, 540×612"
    page.drop(text)
    assert MARKUP in page.error
    assert page.tab.title() == "vitcam: where does it look?"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("absent.onnx", "The server has no /absent.json (it answered 404). `make web` exports the model"),
        (
            "https://elsewhere.example/m.onnx",
            "isn't on this page's server. ?model= takes a path on the same server.",
        ),
        ("photos/cat.jpg", 'The model "photos/cat.jpg" isn\'t an .onnx file.'),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(open_page: Open, model: str, message: str):
    page = open_page(f"?model={model}")
    assert message in page.error
    page.drop(PHOTO)
    assert message in page.error


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 380, "light")]
)
def test_it_looks_as_the_screenshots_show(
    open_page: Open, tmp_path: Path, name: str, width: int, scheme: str
):
    page = open_page()
    page.tab.emulate_media(color_scheme=scheme)
    page.tab.set_viewport_size({"width": width, "height": 800})
    page.screenshot(f"{name}-empty")
    page.drop(PHOTO)
    page.screenshot(name)
    page.tab.check("#outlined")
    page.drop(wrong_files(tmp_path)["notes.txt"])
    page.screenshot(f"{name}-error")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_no_request_leaves_the_origin(page: Page, asked: list[str], site: str):
    page.drop(PHOTO)
    addresses = {urlsplit(address.removeprefix("blob:")) for address in asked}
    assert any(
        address.path.endswith("ort-wasm-simd-threaded.mjs") for address in addresses
    )  # the worker's are seen
    assert {f"{address.scheme}://{address.netloc}/" for address in addresses} == {site}


def test_the_page_may_not_ask_other_servers(page: Page):
    violated = page.tab.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
          fetch("https://elsewhere.example/").catch(() => {});
        })"""
    )
    assert violated == "connect-src"

"""The app in a real browser. Screenshots lie in test-output/app afterwards."""

import base64
import re

import numpy as np
import pytest
from browsing import CHROMIUM
from PIL import Image
from playwright.sync_api import expect

import vitcam
from vitcam.photos import photo_path

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on this machine (apt: chromium)"
)


def test_two_classes_by_three_methods(visit, tmp_path):
    one = visit(height=1350)
    one.photograph_page("start")
    one.give("cat_and_cup")
    one.tick("cup")
    one.choose_methods("agcam", "gae", "attention(layer=4)")
    one.explain()
    expect(one.page.locator("#maps-0 img")).to_have_count(8)
    assert one.maps() == [
        f"{what} for {name}" if what else "cat_and_cup.jpg"
        for name in ("cat", "cup")
        for what in ("", "agcam", "gae", "attention(layer=4)")
    ]
    assert (
        len(set(one.sources())) == 8 - 1 - 1
    )  # the photograph twice; attention is the same for both classes
    one.settled()
    one.photograph_page("light")
    expect(one.page.get_by_role("img", name="colours from cold to hot").first).to_be_visible()
    assert one.box("#busy")["height"] == 0  # nothing lies over the maps once they are there
    for scrolled in (0, 10_000):
        one.page.locator("#form").evaluate("(form, to) => form.scrollTo(0, to)", scrolled)
        form, button = one.box("#form"), one.box("#explain")
        assert form["y"] + form["height"] <= button["y"]  # it covers nothing
        expect(one.page.locator("#explain")).to_be_in_viewport(ratio=1)

    saved = {kind: one.download(kind, tmp_path) for kind in ("panel", "npz", "script")}
    assert Image.open(saved["panel"]).format == "PNG"
    expected = vitcam.explain(
        vitcam.load_model("embedded:photo"), photo_path("cat_and_cup"), targets=[[1, 42]]
    )
    with np.load(saved["npz"]) as maps:
        np.testing.assert_allclose(maps["agcam"], expected.heatmaps[0].numpy(), rtol=1e-3, atol=1e-6)
    one.tab("Code")
    assert "attention(layer=4)" in saved["script"].read_text()
    shown = one.page.locator("#code-0 .cm-content").inner_text()
    assert shown.split() == saved["script"].read_text().split()


def test_moving_the_threshold_only_draws(visit):
    one = visit()
    one.give("cat_and_cup")
    one.explain()
    expect(one.page.locator("#maps-0 img")).to_have_count(4)
    one.settled()
    before = one.sources()
    one.page.get_by_label("Boxes", exact=True).check()
    boxed = one.changed(before)
    one.page.locator("#threshold input[type=range]").focus()
    for _ in range(4):
        one.page.keyboard.press("ArrowLeft")
    expect(one.page.locator("#threshold input[type=number]")).to_have_value("0.3")
    lower = one.changed(boxed)
    assert before[0] == boxed[0] == lower[0]  # the photograph
    one.photograph_page("boxes")
    one.page.locator("#opacity input[type=number]").fill("0.2")
    one.changed(lower)
    one.tab("Code")
    expect(one.page.locator("#code-0 .cm-content")).to_contain_text("opacity=0.2")
    expect(one.page.locator("#code-0 .cm-content")).to_contain_text("boxes=0.3")


def test_layers_and_heads(visit):
    one = visit()
    one.give("cat_and_cup")
    one.tick("cup")
    one.explain()
    expect(one.page.locator("#maps-0 img")).to_have_count(8)
    one.tab("Layers and heads")
    heads = one.page.locator("#heads")
    expect(heads.locator("button.head")).to_have_count(36)
    expect(one.page.locator("#layers img")).to_have_count(6)
    kept = one.page.locator("#kept")
    expect(kept).to_contain_text("those switched on: 100.0 %")
    one.photograph_page("layers")

    def last_layer():
        label = heads.locator("button.layer[data-layer]").nth(5).inner_text()
        return float(re.search(r"([\d.]+) %", label)[1])

    share = last_layer()
    heads.locator("button.layer[data-layer]").nth(5).click()
    expect(kept).to_contain_text(f"those switched on: {100 - share:.1f} %")
    expect(heads.locator("button.head[aria-pressed=false]")).to_have_count(6)
    heads.locator("button.layer[data-layer]").nth(5).click()
    expect(kept).to_contain_text("those switched on: 100.0 %")

    heads.get_by_role("button", name="all off").click()
    expect(kept).to_contain_text("those switched on: 0.0 %")
    heads.get_by_role("button", name="all on").click()
    expect(kept).to_contain_text("those switched on: 100.0 %")

    of_cat = heads.locator("button.head").first.get_attribute("title")
    one.page.locator("#apart-class").get_by_label("cup").check()
    expect(heads.locator("button.head").first).not_to_have_attribute("title", of_cat)
    expect(kept.locator("img").first).to_have_attribute("alt", re.compile("for cup"))
    heads.locator("button.head").first.focus()
    for key in ("ArrowDown", "ArrowRight", "Space"):
        one.page.keyboard.press(key)
    switched = heads.locator("button.head[aria-pressed=false]")
    expect(switched).to_have_count(1)
    expect(switched).to_have_attribute("aria-label", re.compile("layer 1, head 1"))
    expect(switched).to_be_focused()
    one.page.keyboard.press("Space")
    expect(switched).to_have_count(0)

    one.give_again("astronaut")
    one.explain()  # the maps come back, and with them another photograph's layers
    expect(one.page.locator("#maps-0 img").first).to_have_attribute("alt", "astronaut.jpg")
    one.tab("Layers and heads")
    expect(kept).to_contain_text("those switched on: 100.0 %")


def test_errors_say_what_to_do_and_can_be_mended(visit, tmp_path):
    one = visit()
    one.explain()
    assert "There is no photograph yet. Drop or paste one" in one.error()
    one.page.get_by_label("Compare with a second model").check()
    broken = tmp_path / "holiday.jpg"
    broken.write_bytes(photo_path("cat").read_bytes()[:4000])
    one.page.set_input_files("#photograph input[type=file]", broken)
    for side in ("model", "second-model"):
        expect(one.page.locator(f"#{side}-classes")).to_contain_text("the message says why")
    text = one.error()
    assert text.count("holiday.jpg") == 1  # although two models were to see it
    assert "truncated" in text
    assert "/" not in text
    one.page.get_by_label("Compare with a second model").uncheck()
    one.give("cat")
    one.type_class("<img src=x onerror=alert(1)>")
    one.type_class("cup")
    one.explain()
    toast = one.page.locator(".toast-body")
    expect(toast).to_contain_text("no class called '<img src=x onerror=alert(1)>'. It has 62 others.")
    expect(one.page.locator("#maps-0 .vitcam-note").first).to_contain_text("no class called '<img src=x")
    expect(one.page.locator("#maps-0 img[alt='agcam for cup']")).to_be_visible()
    one.photograph_page("error")
    one.error()


def test_names_of_classes_are_completed(visit):
    one = visit()
    one.give("cat")
    box, offered = one.page.locator("#model-typed input"), one.page.get_by_role("option")
    box.press_sequentially("cu")
    expect(offered).to_have_text([re.compile("cup")])
    box.press("ArrowDown")
    box.press("Enter")
    box.press_sequentially("camer")
    offered.filter(has_text="camera").click()
    box.press_sequentially("astronaut")
    one.explain()  # what was typed counts without Enter, too
    one.settled()
    assert {"agcam for cat", "agcam for cup", "agcam for camera"} <= set(one.maps())
    expect(
        one.page.locator("#maps-0 .vitcam-note, #maps-0 .class").filter(has_text="astronaut")
    ).to_have_count(1)


def test_code_names_the_file_as_the_visitor_does(visit, mine):
    one = visit()
    one.give(mine.rename(mine.with_name("IMG (1) & ü.jpg")))
    one.choose_methods("agcam")
    one.explain()
    expect(one.page.locator("#maps-0 img").first).to_have_attribute("alt", "IMG (1) & ü.jpg")
    one.settled()
    one.tab("Code")
    expect(one.page.locator("#code-0 .cm-content")).to_contain_text("photograph = 'IMG (1) & ü.jpg'")


def test_wrong_models_and_methods(visit):
    one = visit()
    one.give("cat")
    one.choose_methods("agcan")
    one.explain()
    assert "no method 'agcan'. Did you mean 'agcam'?" in one.error()
    one.choose_methods("agcam")
    one.type_model("timm:nonsense_vit")
    assert "timm has no model called 'nonsense_vit'. Nearest:" in one.error()
    one.type_model("timm:vit_tiny_patch16_224@nowhere.pth")
    assert "nowhere.pth doesn't exist" in one.error()


def test_two_visitors_at_once(visit):
    one, other = visit(), visit(width=900)
    one.give("cat")
    other.give("cup")
    other.choose_methods("rollout")
    for visitor in (one, other):
        visitor.page.evaluate("document.querySelector('#explain').click()")
    expect(one.page.locator("#maps-0 img")).to_have_count(4)
    expect(other.page.locator("#maps-0 img")).to_have_count(2)
    assert one.maps() == ["cat.jpg", *(f"{method} for cat" for method in ("agcam", "gradcam", "rollout"))]
    assert other.maps() == ["cup.jpg", "rollout for cup"]
    one.tab("Code")
    expect(one.page.locator("#code-0 .cm-content")).to_contain_text("photo_path('cat')")


def test_two_models_and_prompts(visit):
    one = visit()
    one.give("cat")
    one.choose_methods("agcam")
    one.page.get_by_label("Compare with a second model").check()
    expect(one.page.locator("#second-model input")).to_have_value("open_clip:fake/clip")
    expect(one.page.locator("#second-model-classes")).to_contain_text("compares images with texts")
    one.page.locator("#second-model-typed input").evaluate(
        """box => {
            const clipboardData = new DataTransfer();
            clipboardData.setData('text', 'a cat\\na <b>dog</b>');
            box.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}));
        }"""
    )
    expect(one.page.locator("#second-model-classes input:checked")).to_have_count(2)
    one.explain()
    expect(one.page.locator("#maps-0 img")).to_have_count(2)
    expect(one.page.locator("#maps-1 img")).to_have_count(4)
    assert one.maps() == ["cat.jpg", "agcam for cat"]
    assert {"agcam for a cat", "agcam for a <b>dog</b>"} <= set(one.maps(1))
    one.settled()
    one.photograph_page("two-models")
    one.tab("Layers and heads")
    one.page.locator("#apart-model").get_by_label("open_clip:fake/clip").check()
    expect(one.page.locator("#heads button.layer[data-layer]")).to_have_count(2)
    one.tab("Code")
    expect(one.page.locator("#code-1 .cm-content")).to_contain_text("with_prompts(['a cat', 'a <b>dog</b>'])")
    one.page.get_by_label("Compare with a second model").uncheck()
    one.explain()
    expect(one.page.locator("#code-1")).to_be_hidden()


def test_a_pasted_photograph(visit):
    one = visit()
    one.give("cup")
    data = base64.b64encode(photo_path("cat").read_bytes()).decode()
    one.page.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], 'pasted.jpg', {type: 'image/jpeg'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
        }""",
        data,
    )
    expect(one.page.locator("#model-classes label").first).to_contain_text("cat ·")


def test_with_the_keyboard_in_the_dark(visit):
    one = visit(color_scheme="dark", height=1350)
    shipped = one.page.get_by_role("button", name="cat and cup")
    for _ in range(20):
        if shipped.evaluate("one => one === document.activeElement"):
            break
        one.page.keyboard.press("Tab")
    expect(shipped).to_be_focused()
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#model-classes input:checked")).to_have_count(1)
    one.page.locator("#model-classes input").nth(1).focus()
    one.page.keyboard.press("Space")
    one.page.get_by_role("button", name="Explain").focus()
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#maps-0 img")).to_have_count(8)
    one.settled()
    one.photograph_page("dark")
    lightness = one.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(lightness[:3]) < 60
    one.tab("Layers and heads")
    expect(one.page.locator("#layers img")).to_have_count(6)
    one.photograph_page("dark-layers")


def test_on_a_narrow_screen(visit):
    one = visit(width=390, height=844)
    one.photograph_page("narrow-start")
    one.give("cat_and_cup")
    one.tick("cup")
    one.explain()
    expect(one.page.locator("#maps-0 img")).to_have_count(8)
    one.settled()
    for part in ("#look", "#maps-0 .maps >> nth=0"):  # all of the answers is more than fits
        expect(one.page.locator(part)).to_be_in_viewport(ratio=0.8)
    one.photograph_page("narrow", top=False)
    for image in one.page.locator("#maps-0 img").all():
        assert image.bounding_box()["width"] > 150
    form, button = one.box("#form"), one.box("#explain")
    assert form["y"] + form["height"] <= button["y"]
    one.tab("Layers and heads")
    expect(one.page.locator("#layers img")).to_have_count(6)
    one.photograph_page("narrow-layers", whole=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_files_that_are_too_large(visit, tmp_path):
    one = visit()
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    one.page.set_input_files("#photograph input[type=file]", tmp_path / "large.png")
    expect(one.page.locator("body")).to_contain_text(
        re.compile("maximum (allowed )?(file )?size", re.IGNORECASE)
    )
    expect(one.page.get_by_test_id("toast-body")).to_have_css("opacity", "1")
    one.photograph_page("too-large")
    one.complaints = [complaint for complaint in one.complaints if not complaint.startswith("413")]

"""Files of another kind than photographs in a real browser. Screenshots lie in test-output/app afterwards."""

import pytest
from browsing import CHROMIUM
from own_models import write
from PIL import Image
from playwright.sync_api import expect

from vitcam.photos import photo_path

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on this machine (apt: chromium)"
)


def test_a_video_in_its_tab(visit, tmp_path):
    one = visit(height=1100)
    page = one.page
    one.tab("Video")
    page.set_input_files("#video-file input[type=file]", photo_path("cat"))
    assert one.error().startswith(
        "Invalid file type"
    )  # the browser's own check; whatever passes it is checked again
    page.set_input_files("#video-file input[type=file]", write("video", tmp_path, "<b>moving"))
    assert one.error() == "No model is chosen. Choose one that takes a video."
    box = page.locator("#video-model input")
    for spec in ("embedded:photo", "own_models:video"):
        box.fill(spec)
        box.press("Enter")
        page.locator("#title").click()
        if spec == "embedded:photo":
            assert (
                "takes a photograph: it answers in the tab Photograph. This is the tab Video" in one.error()
            )
    expect(page.locator("#video-model-classes input:checked")).to_have_count(1)
    page.locator("#video-explain").click()
    expect(page.locator("#video-moving-0")).to_be_visible()
    pictures = page.locator("#video-maps-0 img")
    expect(pictures).to_have_count(2)
    assert pictures.evaluate_all(
        "all => all.every(one => one.naturalWidth > 100 && one.alt.includes('agcam'))"
    )
    with page.expect_download() as waiting:
        page.locator("#video-moving-0").click()
    waiting.value.save_as(tmp_path / "moving.webp")
    with Image.open(tmp_path / "moving.webp") as moving:
        assert moving.n_frames == 4
    before = pictures.first.get_attribute("src")
    page.locator("#video-opacity input[type=number]").fill("0.2")
    expect(pictures.first).not_to_have_attribute("src", before)
    one.photograph_page("video")
    form, button = one.page.locator(".vitcam-form:visible"), one.page.locator("#video-explain")
    expect(button).to_be_in_viewport(ratio=1)
    assert form.bounding_box()["y"] + form.bounding_box()["height"] <= button.bounding_box()["y"]
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(one.evaluate("one => one.getBoundingClientRect().right") <= 390 for one in pictures.all())
    one.photograph_page("video-narrow", whole=True)
    one.tab("Photograph")
    expect(page.locator("#maps-0")).to_contain_text("Choose a photograph")

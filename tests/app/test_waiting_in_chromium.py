"""Visitors who wait, for one another or for a method that never ends, in a real browser."""

import pytest
from browsing import CHROMIUM
from playwright.sync_api import expect

from vitcam.photos import photo_path

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on this machine (apt: chromium)"
)


def endless(visit, **options):
    """A visitor whose second method never ends, once the first one is shown."""
    one = visit(**options)
    one.give("cat")
    one.choose_methods("attnlrp", "agcam")
    one.explain()
    expect(one.page.locator("#status")).to_have_text("Explaining by attnlrp · 1 of 2 methods done")
    expect(one.page.locator("#maps-0")).to_contain_text("to come")
    assert one.maps() == ["cat.jpg", "agcam for cat"]
    return one


@pytest.mark.parametrize("key", ["Stop", "Escape"])
def test_what_takes_long_can_be_stopped(visit, key, tmp_path):
    one = endless(visit)
    one.photograph_page("explaining")
    if key == "Stop":
        one.page.get_by_role("button", name="Stop").click()
    else:
        one.page.keyboard.press("Escape")
    expect(one.page.locator("#status")).to_have_text("Stopped. What was finished is kept.")
    one.settled()
    expect(one.page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(one.page.locator("#maps-0")).not_to_contain_text("to come")
    one.photograph_page("stopped")
    assert "methods=['agcam']" in one.download("script", tmp_path).read_text()
    one.choose_methods("rollout")
    one.explain()
    expect(one.page.locator("#maps-0 img").last).to_have_attribute("alt", "rollout for cat")
    expect(one.page.locator("#status")).to_have_text("")


def test_on_a_narrow_screen_stop_is_in_sight(visit):
    one = endless(visit, width=380, height=780)
    stop = one.page.get_by_role("button", name="Stop")
    expect(stop).to_be_in_viewport(ratio=1)
    one.photograph_page("narrow-explaining", top=False)
    stop.click()
    one.settled()


def test_the_next_visitor_hears_that_they_wait(visit):
    one, other = endless(visit), visit()
    other.page.set_input_files("#photograph input[type=file]", photo_path("cup"))
    expect(other.page.locator("#model-classes")).to_contain_text("Waiting for 1 other visitor …")
    other.explain()
    expect(other.page.locator("#status")).to_have_text("Waiting for 1 other visitor")
    other.photograph_page("waiting")
    other.page.get_by_role("button", name="Stop").click()
    expect(other.page.locator("#status")).to_have_text("Stopped. What was finished is kept.")
    expect(other.page.locator("#model-classes")).to_contain_text("Waiting for 1 other visitor …")
    one.context.close()  # whoever leaves takes their work along
    expect(other.page.locator("#model-classes label").first).to_contain_text("cup ·")

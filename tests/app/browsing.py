"""What drives the app in a test: Chromium, and visitors in it."""

import shutil
from pathlib import Path

from playwright.sync_api import expect
from running import SECONDS

from vitcam.photos import photo_path

PICTURES = Path(__file__).parents[2] / "test-output" / "app"
CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser")) if path), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
expect.set_options(timeout=1000 * SECONDS)


class Visitor:
    """One visitor, in a browser session of its own, who sees nothing of the others.

    Attributes:
        complaints: what shouldn't happen: requests to other hosts, errors of scripts, refused requests.
    """

    def __init__(self, browser, address, width=1440, height=1000, **options):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, **options
        )
        self.complaints = []
        self.page = page = self.context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error.stack}"))
        page.on(
            "console",
            lambda message: (
                "Content Security Policy" in message.text
                and self.complaints.append(f"refused: {message.text}")
            ),
        )
        page.on("request", lambda request: self._outside(request.url, address))
        page.on(
            "response",
            lambda response: (
                response.status >= 400 and self.complaints.append(f"{response.status} {response.url}")
            ),
        )
        page.goto(address)
        expect(page.get_by_role("button", name="Explain")).to_be_enabled()

    def _outside(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.complaints.append(f"outside: {url}")

    def give(self, photograph, side="model"):
        """Drops a photograph and waits until its classes are listed."""
        path = photo_path(photograph) if isinstance(photograph, str) else photograph
        self.page.set_input_files("#photograph input[type=file]", path)
        expect(self.page.locator(f"#{side}-classes input:checked")).to_have_count(1)

    def tick(self, name, side="model"):
        self.page.locator(f"#{side}-classes").get_by_role("checkbox", name=f"{name} ·").check()

    def choose_methods(self, *names):
        box = self.page.locator("#methods input")
        while self.page.locator("#methods .token").count():
            box.press("Backspace")
        for name in names:
            box.fill(name)
            box.press("Enter")
        expect(self.page.locator("#methods .token")).to_have_count(len(names))
        box.press("Tab")

    def type_class(self, name, side="model"):
        box = self.page.locator(f"#{side}-typed input")
        box.fill(name)
        box.press("Enter")

    def explain(self):
        self.page.get_by_role("button", name="Explain").click()

    def give_again(self, photograph):
        """Another photograph in the place of one."""
        before = self.page.locator("#model-classes").inner_text()
        self.page.set_input_files("#photograph input[type=file]", photo_path(photograph))
        expect(self.page.locator("#model-classes")).not_to_have_text(before, use_inner_text=True)

    def type_model(self, spec):
        box = self.page.locator("#model input")
        box.fill(spec)
        box.press("Enter")
        box.press("Tab")

    def settled(self):
        """Waits until nothing is being computed or packed."""
        expect(self.page.get_by_role("button", name="Explain", exact=True)).to_be_enabled()
        expect(self.page.locator("#script-0")).to_be_visible()

    def changed(self, before):
        """Waits until the maps are drawn anew; gives their pictures."""
        self.page.wait_for_function(
            """before => {
                const now = [...document.querySelectorAll('#maps-0 img')].map(one => one.src);
                return now.length === before.length && now.slice(1).every((one, i) => one !== before[i + 1]);
            }""",
            arg=before,
        )
        return self.sources()

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    def download(self, kind, folder):
        with self.page.expect_download() as waiting:
            self.page.locator(f"#{kind}-0").click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def box(self, selector):
        return self.page.locator(selector).bounding_box()

    def maps(self, side=0):
        """What the pictures of maps show, by row."""
        return self.page.locator(f"#maps-{side} img").evaluate_all("all => all.map(one => one.alt)")

    def sources(self, side=0):
        return self.page.locator(f"#maps-{side} img").evaluate_all("all => all.map(one => one.src)")

    def error(self):
        """The text of the error on display, which is then closed."""
        toast = self.page.locator(".toast-body").first
        expect(toast).to_be_visible()
        text = toast.get_by_test_id("toast-text").inner_text()
        toast.get_by_test_id("toast-close").click()
        expect(toast).to_be_hidden()
        return text

    def photograph_page(self, name, whole=False, top=True):
        PICTURES.mkdir(parents=True, exist_ok=True)
        if top:
            self.page.evaluate("window.scrollTo(0, 0)")
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=whole, animations="disabled")

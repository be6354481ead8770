"""The built page, served on this machine, in a Chromium of its own."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from visitor import DIST, Page

ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
QUIET = [
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """A file server such as ``python -m http.server``; below ``/isolated/`` with headers that allow threads."""

    def end_headers(self) -> None:
        for name, value in ISOLATED.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    @property
    def isolated(self) -> bool:
        return self.path.startswith("/isolated/")

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/isolated"))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the page."""
    if not (DIST / "model" / "model.onnx.gz").is_file():
        pytest.skip("the page isn't built: make web")
    with serving() as (address, _):
        yield address


@contextmanager
def serving() -> Iterator[tuple[str, Callable[[], None]]]:
    """A server's address, and what ends it before its time."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(DIST))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    yield f"http://127.0.0.1:{server.server_port}/", end
    end()


@pytest.fixture(scope="module")  # while it runs, so does an event loop that other tests don't expect
def browser(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium isn't installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            args=["--no-sandbox", "--disable-sync", *(f"--{flag}" for flag in QUIET)],
            viewport={"width": 1280, "height": 900},
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def asked(browser: Any) -> list[str]:
    """Every address that any page, or its worker, has asked for."""
    addresses: list[str] = []
    browser.on("request", lambda request: addresses.append(request.url))
    return addresses


@pytest.fixture
def open_page(browser: Any, site: str, asked: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens the page anew at a path below the site, and waits until its model is loaded or has failed to."""
    pages: list[Page] = []

    def opened(path: str = "") -> Page:
        pages.append(Page(browser.new_page(), f"{site}{path}"))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()


@pytest.fixture
def leaving(browser: Any, asked: list[str]) -> Iterator[tuple[Page, Callable[[], None]]]:
    """A page from a server of its own, and what takes that server from the network."""
    with serving() as (address, end):
        page = Page(browser.new_page(), address)
        yield page, end
        page.close()
    asked[:] = [other for other in asked if address not in other]


@pytest.fixture(scope="module")
def page(browser: Any, site: str, asked: list[str]) -> Iterator[Page]:
    """One page for all tests that look at what it says of a photograph: loading the model takes longest."""
    page = Page(browser.new_page(), site)
    yield page
    page.close()

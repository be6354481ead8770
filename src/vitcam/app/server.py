"""Starts the app."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitcam.app.model_cache import ModelCache
from vitcam.app.policy import Policy
from vitcam.app.proxies import Forwarded, networks_of
from vitcam.errors import VitcamError
from vitcam.printable import PrintableStream

SESSIONS = 50
"""Visitors of whom something is kept in memory; the one who was here longest ago makes room."""


def serve(
    policy: Policy,
    *,
    host: str,
    port: int,
    max_upload_mb: float,
    visitor_quota_mb: float = 100,
    total_quota_mb: float = 1000,
    trusted_proxies: Sequence[str] = (),
    models_in_memory: int,
    ready: Callable[[str], None],
) -> None:
    """Runs the app until it is interrupted.

    Args:
        policy: what visitors may do.
        host, port: where to listen.
        max_upload_mb: the size of a file.
        visitor_quota_mb, total_quota_mb: of the files that are kept of one visitor, and in all; at least the
            size of one file.
        trusted_proxies: addresses or networks of proxies that are believed about the requests they pass on.
        models_in_memory: how many models are kept.
        ready: is told the app's address once it answers.

    Raises:
        VitcamError: gradio isn't installed, the address is taken, or a proxy is no address.
    """
    proxies = networks_of(trusted_proxies)
    if find_spec("gradio") is None:
        raise VitcamError(
            "The app needs gradio, which isn't installed. Install it: pip install 'vitcam[app]'."
        )
    with (
        _asked_to_stop() as stopped,  # before there is anything to delete
        tempfile.TemporaryDirectory(prefix="vitcam-app-") as folder,
        redirect_stdout(PrintableStream(sys.stdout)),  # gradio, uvicorn and tracebacks
        redirect_stderr(PrintableStream(sys.stderr)),  # repeat what visitors send
    ):
        # gradio reads these where it is imported: its files go where they are deleted with the app, and neither
        # statistics nor files that the environment allows leave this machine
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        # uvicorn would believe every program of this machine what it says about its requests
        os.environ["FORWARDED_ALLOW_IPS"] = ""
        os.environ.pop("GRADIO_ALLOWED_PATHS", None)

        from starlette.middleware import Middleware

        from vitcam.app.access import Access
        from vitcam.app.components import asset
        from vitcam.app.file_access import ENVELOPE, FileAccess
        from vitcam.app.handlers import Handlers
        from vitcam.app.layer_handlers import LayerHandlers
        from vitcam.app.page import build_page, theme
        from vitcam.app.uploads import Uploads
        from vitcam.models import load_model

        cache = ModelCache(partial(load_model, device=policy.device), models_in_memory)
        handlers = Handlers(cache, policy, Path(folder))
        largest = int(max_upload_mb * 2**20)
        each, total = (
            max(int(quota * 2**20), largest + ENVELOPE) for quota in (visitor_quota_mb, total_quota_mb)
        )
        uploads = Uploads(Path(folder), each, max(each, total))
        page = build_page(handlers, LayerHandlers(cache, policy, handlers.sessions), policy)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                show_error=False,
                allowed_paths=[],
                max_file_size=largest,
                max_threads=100,  # those who wait for their turn hold one each
                state_session_capacity=SESSIONS,
                enable_monitoring=False,
                run_history=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                footer_links=[],
                favicon_path=_icon(Path(folder) / "icon.png"),
                theme=theme(),
                css=asset("app.css"),
                app_kwargs={
                    "middleware": [  # the first one is the first that a request comes to
                        Middleware(Forwarded, trusted=proxies),
                        Middleware(Access, local=policy.trusting),
                        Middleware(FileAccess, uploads=uploads, shipped=handlers.shipped, largest=largest),
                    ]
                },
            )
        except OSError as error:
            raise VitcamError(
                f"Can't listen on {host}:{port}: the port is taken, or the address isn't this machine's. "
                "Choose another: --port N."
            ) from error
        handlers.sessions.forgotten = partial(let_go, page)
        ready(address)
        try:
            _wait_until(stopped)
        finally:
            handlers.sessions.close()
            page.close(verbose=False)


def let_go(page: Any, session: str) -> None:
    """Has gradio delete what it keeps of a visitor within a second.

    It does so itself, an hour after the page was closed; only its own thread may, which goes through them all.
    """
    state = page.state_holder.session_data.get(session)
    if state is not None:
        state.is_closed = True
        state.STATE_TTL_WHEN_CLOSED = 0


def _icon(path: Path) -> Path:
    """A hot spot, for the browser's tab."""
    import numpy as np
    from PIL import Image

    from vitcam.render import colorize

    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    Image.fromarray(colorize(np.exp(-4 * ((columns - 0.2) ** 2 + (rows + 0.2) ** 2)))).save(path)
    return path


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """What is set when the system asks the program to end: the visitors' files are then deleted."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # signals are the main thread's; another is stopped by what started it
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        # what handles it in C can't be put back from here
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _wait_until(stopped: threading.Event) -> None:
    """Returns when the program is asked to end, and on Ctrl+C."""
    with suppress(KeyboardInterrupt):
        while not stopped.wait(1):  # without a limit, Windows wouldn't see Ctrl+C
            pass

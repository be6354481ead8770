"""Starts the app."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from vitcam.app.policy import Policy
from vitcam.app.shelf import ModelShelf
from vitcam.errors import VitcamError

SESSIONS = 50
"""Visitors of whom something is kept in memory; the one who was here longest ago makes room."""


def serve(
    policy: Policy,
    *,
    host: str,
    port: int,
    max_upload_mb: float,
    models_in_memory: int,
    ready: Callable[[str], None],
) -> None:
    """Runs the app until it is interrupted.

    Args:
        policy: what visitors may do.
        host, port: where to listen.
        max_upload_mb: the size of a photograph's file.
        models_in_memory: how many models are kept.
        ready: is told the app's address once it answers.

    Raises:
        VitcamError: gradio isn't installed, or the address is taken.
    """
    if find_spec("gradio") is None:
        raise VitcamError(
            "The app needs gradio, which isn't installed. Install it: pip install 'vitcam[app]'."
        )
    with tempfile.TemporaryDirectory(prefix="vitcam-app-") as folder:
        # gradio reads these where it is imported: its files go where they are deleted with the app, and neither
        # statistics nor files that the environment allows leave this machine
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        os.environ.pop("GRADIO_ALLOWED_PATHS", None)

        from starlette.middleware import Middleware

        from vitcam.app.desk import Desk
        from vitcam.app.gate import Gate
        from vitcam.app.layers_desk import LayersDesk
        from vitcam.app.page import build_page, let_go
        from vitcam.app.style import CSS, theme
        from vitcam.models import load_model

        shelf = ModelShelf(partial(load_model, device=policy.device), models_in_memory)
        desk = Desk(shelf, policy, Path(folder))
        page = build_page(desk, LayersDesk(shelf, policy, desk.visits), policy)
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
                max_file_size=int(max_upload_mb * 2**20),
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
                css=CSS,
                app_kwargs={"middleware": [Middleware(Gate, local=policy.trusting)]},
            )
        except OSError as error:
            raise VitcamError(
                f"Can't listen on {host}:{port}: the port is taken, or the address isn't this machine's. "
                "Choose another: --port N."
            ) from error
        desk.visits.forgotten = partial(let_go, page)
        ready(address)
        try:
            _wait_until_stopped()
        finally:
            desk.visits.close()
            page.close(verbose=False)


def _icon(path: Path) -> Path:
    """A hot spot, for the browser's tab."""
    import numpy as np
    from PIL import Image

    from vitcam.render import colorize

    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    Image.fromarray(colorize(np.exp(-4 * ((columns - 0.2) ** 2 + (rows + 0.2) ** 2)))).save(path)
    return path


def _wait_until_stopped() -> None:
    """Returns on Ctrl+C, and when the system asks the program to end: the visitors' files are then deleted."""
    stopped = threading.Event()
    with suppress(ValueError):  # signals are the main thread's; another is stopped by what started it
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with suppress(KeyboardInterrupt):
        while not stopped.wait(1):  # without a limit, Windows wouldn't see Ctrl+C
            pass

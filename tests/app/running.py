"""The app as it runs: a server in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

SECONDS = 120  # machines that run tests are busy; nothing waits longer than it must
START = 300  # until an app answers


@contextmanager
def serving(log, *options, end=signal.SIGTERM):
    """The address of an app in a process of its own, which in the end leaves nothing behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(here.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    environment["TMPDIR"] = str(log.parent)
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, str(here / "watched_server.py"), "app", "--port", str(port), *options],
            stdout=output,
            stderr=output,
            env=environment,
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            until = time.monotonic() + START
            while not answers(address + "config"):
                assert server.poll() is None, f"the app ended: {log.read_text()}"
                assert time.monotonic() < until, f"the app doesn't answer: {log.read_text()}"
                time.sleep(0.2)
            yield address
        finally:
            server.send_signal(end)
            ended = server.wait(SECONDS)
    assert ended == 0
    assert not list(log.parent.glob("vitcam-app-*"))


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status == 200
    except (urllib.error.URLError, OSError):
        return False

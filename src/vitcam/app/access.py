"""Which requests reach gradio at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from vitcam.app.policy import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PAGES = frozenset({"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"})
_FOLDERS = ("/assets/", "/static/", "/svelte/")
_CALLS = frozenset(
    f"/gradio_api/{name}"
    for name in (
        *("info", "app_id", "startup-events", "theme.css", "login_check"),
        *("queue/join", "queue/data", "upload", "upload_progress", "reset", "cancel"),
    )
)
_CALL_FOLDERS = ("/gradio_api/heartbeat/", "/gradio_api/file=")

_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
    b"base-uri 'self'; frame-ancestors 'self'"
)
"""What a browser may load for the page: only what is from here. gradio's scripts are inline and make functions."""


class Access:
    """Lets through what the page needs, and nothing else of what gradio offers: no proxy, no recording, no runs.

    What it lets through comes back with the order to the browser to ask no other host for anything.

    Args:
        app: what is behind it.
        local: whether the app is meant for this machine alone. Then a page of another site can't make the
            browser use it: neither under a name that leads here, nor from the other site.
    """

    def __init__(self, app: Any, local: bool) -> None:
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._admits(scope)):
            await self._app(scope, receive, _with_policy(send))
            return
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b"vitcam's app doesn't answer this request."})

    def _admits(self, scope: Scope) -> bool:
        return is_needed(scope["path"]) and (not self._local or self._from_here(dict(scope["headers"])))

    def _from_here(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        hostname = urlsplit(f"//{host}").hostname or ""
        return is_loopback(hostname) and (not origin or urlsplit(origin).netloc == host)


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [(b"content-security-policy", _POLICY), (b"referrer-policy", b"no-referrer")]
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return send_with_policy


def is_needed(path: str) -> bool:
    """Whether the page needs what lies at a path.

    Example:
        >>> is_needed("/config"), is_needed("/gradio_api/file=https://example.org/")
        (True, False)
    """
    path = unquote(path).rstrip("/") or "/"
    if ".." in path or ":/" in path:
        return False
    return path in _PAGES or path in _CALLS or path.startswith((*_FOLDERS, *_CALL_FOLDERS))

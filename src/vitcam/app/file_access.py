"""What comes in from visitors: uploads, which are counted, and values, which may name no file but their own."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from os.path import normpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vitcam.app.uploads import Uploads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "vitcam-visitor"
"""Holds a random name, by which uploads are known to be of one visitor. It comes with the page, and ends with the
browser."""

ADDRESS = "address "
"""Begins the name of those who keep no cookie."""

UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file="

LARGEST_CALL = 2**20
"""Bytes of anything else that a page sends."""

ENVELOPE = 2**16
"""Bytes around a file in an upload."""

PATIENCE = 600
"""Seconds that an upload may take."""

_NAME = re.compile(r"[\w-]{20,64}", re.ASCII)


class RefusalError(Exception):
    """A request isn't answered; the message says why to whoever reads it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FileAccess:
    """Stands between visitors and gradio, which would fetch any address that a value gives as a file's.

    Args:
        app: what is behind it.
        uploads: whose uploads are whose.
        shipped: files that anybody may name.
        largest: bytes of one file.
    """

    def __init__(self, app: Any, uploads: Uploads, shipped: Collection[str], largest: int) -> None:
        self._app = app
        self._uploads = uploads
        self._shipped = frozenset(shipped)
        self._largest = largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visitor = _visitor(scope)
        if scope["path"] == "/" and visitor.startswith(ADDRESS):
            send = _naming(send, secure=scope["scheme"] == "https")
        uploading = unquote(scope["path"]).rstrip("/") == UPLOAD
        try:
            if scope["method"] in ("GET", "HEAD"):
                self._check_path(visitor, unquote(scope["path"]))
                await self._app(scope, receive, send)
            elif uploading:
                await self._upload(visitor, scope, receive, send)
            else:
                body = await _body(scope, receive)
                await self._app(*_with_body(scope, receive, self._checked(visitor, body)), send)
        except RefusalError as refused:
            await _refuse(send, refused, as_json=not uploading)

    def _check_path(self, visitor: str, path: str) -> None:
        if path.startswith(FILE) and self._uploads.of_others(visitor, normpath(path.removeprefix(FILE))):
            raise RefusalError(403, "This file isn't yours.")

    def _checked(self, visitor: str, body: bytes) -> bytes:
        """What a page sends, as it may reach gradio.

        Raises:
            RefusalError: it is no JSON, or names a file that isn't an upload of this visitor.
        """

        def may_name(path: str) -> bool:
            return path in self._shipped or self._uploads.of(visitor, path)

        try:
            return json.dumps(only_own_files(json.loads(body), may_name)).encode()
        except (ValueError, RecursionError) as error:
            raise RefusalError(400, "Expected JSON.") from error

    async def _upload(self, visitor: str, scope: Message, receive: Receive, send: Send) -> None:
        size = _length(scope)
        if size > self._largest + ENVELOPE:
            raise RefusalError(413, f"File size exceeded maximum allowed size of {self._largest} bytes.")
        arrival = self._uploads.begin(visitor, size)
        if arrival is None:
            raise RefusalError(503, "Too many files are being uploaded. Try again in a minute.")
        until = time.monotonic() + PATIENCE
        status, content, ended = 0, bytearray(), False

        async def receive_in_time() -> Message:
            try:
                return await asyncio.wait_for(receive(), max(until - time.monotonic(), 0))
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}

        async def send_and_note(message: Message) -> None:
            nonlocal status, ended
            status = message.get("status", status)
            content.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body") and status == 200:
                ended = True  # before the visitor is told: the next request may name it
                self._uploads.end(arrival, map(Path, json.loads(content)))
            await send(message)

        try:
            await self._app(scope, receive_in_time, send_and_note)
        finally:
            if not ended:  # it broke off
                self._uploads.end(arrival, [])


def only_own_files(value: Any, may_name: Callable[[str], bool]) -> Any:
    """A value from a page, the files in it without anything but their path and name.

    Whatever looks the least like a file counts as one, wherever it is: gradio looks everywhere.

    Args:
        value: as JSON has it.
        may_name: whether a file may be named.

    Raises:
        RefusalError: a file is named that may not be.

    Example:
        >>> only_own_files([{"path": "a/cat.jpg", "url": "https://example.org/"}], lambda path: True)
        [{'path': 'a/cat.jpg', 'orig_name': None, 'meta': {'_type': 'gradio.FileData'}}]
    """
    if isinstance(value, list):
        return [only_own_files(one, may_name) for one in value]
    if not isinstance(value, dict):
        return value
    if not {"path", "url"} & value.keys():
        return {key: only_own_files(one, may_name) for key, one in value.items()}
    path, name = value.get("path"), value.get("orig_name")
    if not isinstance(path, str) or not may_name(path):
        raise RefusalError(
            403,
            "Only files that you dropped, pasted or chose here can be shown, no addresses and no other "
            "files. If it is such a one, reload the page and drop it again.",
        )
    return {
        "path": path,
        "orig_name": name if isinstance(name, str) else None,
        "meta": {"_type": "gradio.FileData"},
    }


def _visitor(scope: Message) -> str:
    """The name that a browser was given; of one that keeps none, and of programs, the address."""
    cookies: SimpleCookie = SimpleCookie()
    with suppress(CookieError):  # others' on the same host may be odd
        cookies.load(_header(scope, b"cookie"))
    name = cookies[COOKIE].value if COOKIE in cookies else ""
    return name if _NAME.fullmatch(name) else f"{ADDRESS}{(scope.get('client') or ('unknown',))[0]}"


def _naming(send: Send, secure: bool) -> Send:
    cookie = f"{COOKIE}={secrets.token_urlsafe(18)}; Path=/; HttpOnly; SameSite=Strict"
    if secure:
        cookie += "; Secure"

    async def send_with_name(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode())]}
        await send(message)

    return send_with_name


def _header(scope: Message, wanted: bytes) -> str:
    return "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name == wanted)


def _length(scope: Message) -> int:
    """What a request announces to be its bytes.

    Raises:
        RefusalError: it announces nothing; browsers always do.
    """
    length = _header(scope, b"content-length")
    if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
        raise RefusalError(411, "Expected a length.")
    return int(length)


async def _body(scope: Message, receive: Receive) -> bytes:
    if _length(scope) > LARGEST_CALL:
        raise RefusalError(413, f"Expected at most {LARGEST_CALL} bytes.")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusalError(400, "The request broke off.")
        body.extend(message.get("body", b""))
        if not message.get("more_body"):
            return bytes(body)


def _with_body(scope: Message, receive: Receive, body: bytes) -> tuple[Message, Receive]:
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return given.pop() if given else await receive()

    return {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}, receive_body


async def _refuse(send: Send, refused: RefusalError, as_json: bool) -> None:
    """As gradio's page reads it: the answer to an upload as text, to anything else as JSON."""
    text = str(refused)
    content = (json.dumps({"detail": text, "error": text}) if as_json else text).encode()
    kind = b"application/json" if as_json else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

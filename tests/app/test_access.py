import asyncio

import pytest

from vitcam.app.access import Access, is_needed


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/config", "/theme.css", "/assets/index.js", "/static/img/x.svg", "/favicon.ico"),
        *(
            "/gradio_api/queue/join",
            "/gradio_api/queue/data",
            "/gradio_api/upload",
            "/gradio_api/heartbeat/x",
        ),
        "/gradio_api/file=/tmp/vitcam-app-x/y/cat.jpg",
    ],
)
def test_the_page_gets_what_it_needs(path):
    assert is_needed(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/file=https://example.org/x",
            "/gradio_api/file=http:/example.org",
            "/gradio_api/proxy=x",
        ),
        *("/gradio_api/file=/tmp/x/../../etc/passwd", "/gradio_api/file=%2e%2e/x", "/monitoring", "/docs"),
        *("/gradio_api/run/predict", "/gradio_api/call/x", "/gradio_api/process_recording"),
        *(
            "/gradio_api/vibe-edit",
            "/gradio_api/component_server",
            "/gradio_api/runs",
            "/gradio_api/deep_link",
        ),
        *("/configs", "/gradio_api/queue/joined", "/gradio_api/openapi.json", "/login", "/svelte"),
    ],
)
def test_and_nothing_else(path):
    assert not is_needed(path)


def answer(headers, local=True, path="/config"):
    async def behind(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    sent = []

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": raw}
    asyncio.run(Access(behind, local=local)(scope, None, send))
    return sent[0]


def status(*arguments, **options):
    return answer(*arguments, **options)["status"]


def test_other_sites_cannot_use_the_app_of_this_machine():
    assert status({"host": "127.0.0.1:7860"}) == 200
    assert status({"host": "localhost:7860", "origin": "http://localhost:7860"}) == 200
    assert status({"host": "[::1]:7860"}) == 200
    assert status({"host": "127.0.0.1:7860", "origin": "https://evil.example"}) == 403
    assert status({"host": "127.0.0.1:7860", "origin": "http://localhost:8888"}) == 403
    assert status({"host": "127.0.0.1:7860", "origin": "null"}) == 403
    assert status({"host": "rebound.example:7860"}) == 403
    assert status({}) == 403


def test_browsers_are_told_to_ask_no_other_host():
    headers = dict(answer({"host": "localhost"})["headers"])
    assert headers[b"content-security-policy"].startswith(b"default-src 'self';")
    assert b"http" not in headers[b"content-security-policy"]
    assert headers[b"referrer-policy"] == b"no-referrer"


def test_a_public_app_answers_under_any_name():
    assert status({"host": "vitcam.example", "origin": "https://vitcam.example"}, local=False) == 200
    assert status({"host": "vitcam.example"}, local=False, path="/monitoring") == 403

"""What the server answers to requests that the page never makes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest
from running import SECONDS, answers, serving
from typer.testing import CliRunner

from vitcam.app.file_access import COOKIE, LARGEST_CALL
from vitcam.cli.program import program
from vitcam.photos import photo_path


def fetch(url, data=None, headers=None):
    """(status, body)."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", str(Path(__file__)), "pyproject.toml", "../../etc/passwd", "/proc/self/environ"),
        *(str(photo_path("cat")), "https://example.org/", "http://127.0.0.1:1/", "file:///etc/passwd"),
    ],
)
@pytest.mark.parametrize("route", ["file=", "file/", "proxy="])
def test_no_file_of_the_server_is_reachable(address, route, path):
    status, body = fetch(f"{address}gradio_api/{route}{path}")
    assert status == 403
    assert b"root:" not in body


@pytest.mark.parametrize(
    "path",
    [
        *("monitoring", "monitoring/summary", "docs", "gradio_api/openapi.json", "gradio_api/runs"),
        *("gradio_api/deep_link?session_hash=x", "gradio_api/call/explain", "gradio_api/run/explain"),
        *("gradio_api/component_server", "gradio_api/process_recording", "gradio_api/vibe-edit/", "login"),
    ],
)
def test_what_the_page_does_not_need_is_closed(address, path):
    assert fetch(address + path)[0] == 403
    assert fetch(address + path, data=b"{}", headers={"Content-Type": "application/json"})[0] == 403


def test_nothing_is_callable_by_name(address):
    status, body = fetch(f"{address}gradio_api/info")
    assert status == 200
    described = json.loads(body)
    assert described["named_endpoints"] == {}
    assert described["unnamed_endpoints"] == {}


def asked(address, function, data, **more):
    """(status, body, session) of a call that a page could make."""
    session = uuid.uuid4().hex
    call = {
        "data": data,
        "fn_index": function,
        "session_hash": session,
        "event_data": None,
        "trigger_id": None,
    }
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    body = json.dumps({**call, **more}).encode()
    return *fetch(f"{address}gradio_api/queue/join", body, headers), session


def called(address, function, data, **more):
    """All that gradio's queue answers to a call that a page could make."""
    status, body, session = asked(address, function, data, **more)
    assert status == 200, body
    messages = []
    with urllib.request.urlopen(
        f"{address}gradio_api/queue/data?session_hash={session}", timeout=SECONDS
    ) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                messages.append(json.loads(line[6:]))
                if messages[-1]["msg"] == "process_completed":
                    return messages
    raise AssertionError(messages)


def ranking(address):
    """The number of the function that ranks classes, and its inputs."""
    config = json.loads(fetch(f"{address}config")[1])
    ids = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
    (function, *_) = [
        one
        for one in config["dependencies"]
        if len(one["outputs"]) == 3 and one["outputs"][1] == ids["model-classes"]
    ]
    assert ids["photograph"] in function["inputs"]
    return function["id"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(photo_path("cat")), "https://example.org/cat.jpg", "pyproject.toml"]
)
def test_only_what_was_uploaded_is_read(address, path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "cat.jpg"}
    status, body, _ = asked(address, ranking(address), [True, file, "embedded:photo", "", None])
    assert status == 403
    assert b"no addresses and no other files" in body


ADDRESSES = ("https://example.org/cat.jpg", "http://127.0.0.1:1/cat.jpg", "file:///etc/passwd", "/etc/passwd")
META = {"_type": "gradio.FileData"}


def disguised(path):
    """Values in which a component of gradio may find a file."""
    file = {"path": path, "meta": META}
    yield from (file, {"path": path}, {"url": path}, {"path": None, "url": path, "meta": META})
    yield from ({"path": path, "url": path, "is_stream": True, "meta": META}, {"path": [path], "meta": META})
    yield from ([file], {"value": file}, {"a": [{"b": [[file, 1]]}]}, [None, {"image": file, "caption": "x"}])


def test_no_event_takes_an_address_in_any_input(address, log):
    before = len(log.read_text())
    config = json.loads(fetch(f"{address}config")[1])
    kinds = {component["id"]: component["type"] for component in config["components"]}
    events = {  # the tabs of files are built by one function: of what is the same in several, one is tried
        tuple(kinds[each] for each in (*event["inputs"], *event["outputs"])): event
        for event in config["dependencies"]
        if event["backend_fn"]
    }.values()
    assert any(kinds[each] == "file" for event in events for each in event["inputs"])
    tried = 0
    for event in events:
        nothing = [None] * len(event["inputs"])
        for place in range(len(nothing)):
            for value in (one for path in ADDRESSES for one in disguised(path)):
                data = [*nothing[:place], value, *nothing[place + 1 :]]
                status, body, _ = asked(address, event["id"], data)
                assert status == 403, (event, place, value, body)
                tried += 1
        status, _, _ = asked(address, event["id"], nothing, event_data={"value": [*disguised(ADDRESSES[0])]})
        assert status == 403
    assert tried > 40 * len(events)
    assert "OUTSIDE" not in log.read_text()[before:]


def test_what_is_told_last_is_told_once(address):
    mine = {"Cookie": f"{COOKIE}={'o' * 24}"}
    (path,) = json.loads(upload(address, photo_path("cup").read_bytes(), mine)[1])
    file = {"path": path, "url": f"{address}gradio_api/file={path}", "meta": META, "orig_name": "cup.jpg"}
    messages = called(address, ranking(address), [True, file, "embedded:photo", "", None], headers=mine)
    told = ["cup ·" in json.dumps(message, ensure_ascii=False) for message in messages]
    assert told.count(True) == 1
    # whatever was ticked since then stays so
    assert messages[-1]["output"]["data"][1:] == [{"__type__": "update"}] * 2


def test_only_ones_own_uploads_can_be_named(address):
    mine, yours = ({"Cookie": f"{COOKIE}={letter * 24}"} for letter in "my")
    content = photo_path("cup").read_bytes() + b"\0"
    (path,) = json.loads(upload(address, content, mine)[1])
    file = {"path": path, "url": f"{address}gradio_api/file={path}", "meta": META, "orig_name": "my cup.jpg"}
    data = [True, file, "embedded:photo", "", None]
    assert asked(address, ranking(address), data, headers=yours)[0] == 403
    assert asked(address, ranking(address), data)[0] == 403
    assert fetch(f"{address}gradio_api/file={path}", headers=yours)[0] == 403
    assert fetch(f"{address}gradio_api/file={path.replace('/a.jpg', '/./a.jpg')}", headers=yours)[0] == 403
    assert fetch(f"{address}gradio_api/file={path}", headers=mine) == (200, content)
    assert "cup ·" in json.dumps(called(address, ranking(address), data, headers=mine), ensure_ascii=False)
    again = json.loads(upload(address, content, yours)[1])
    assert again == [path]  # who has the photograph oneself, may
    assert asked(address, ranking(address), data, headers=yours)[0] == 200


def test_what_is_no_call_is_refused(address):
    url, headers = f"{address}gradio_api/queue/join", {"Content-Type": "application/json"}
    for body in (b"{", b"[" * 100_000, b"\xff\xfe", b'{"data": [1' + b"0" * 5000 + b"]}"):
        assert fetch(url, body, headers)[0] == 400
    assert answer_unsent(url, {"Content-Length": str(LARGEST_CALL + 1)}) == 413
    assert answer_unsent(url, {"Transfer-Encoding": "chunked"}) == 411  # without a length


def answer_unsent(url, headers):
    """The status of the answer to the headers of a call whose body is never sent: sent, it would break off."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    connection.putrequest("POST", parts.path)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_page_brings_a_name_for_its_visitor(address):
    with urllib.request.urlopen(address, timeout=SECONDS) as response:
        cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    named = urllib.request.Request(address, headers={"Cookie": cookie.partition(";")[0]})
    with urllib.request.urlopen(named, timeout=SECONDS) as response:
        assert response.headers["Set-Cookie"] is None


def sizes(log):
    """Of the uploads that are kept, and of whatever else lies about."""
    (folder,) = log.parent.glob("vitcam-app-*")
    strays = [file for file in folder.glob("tmp*") if file.is_file()]
    return sorted(file.stat().st_size for file in folder.glob("*/a.jpg")), strays


def test_uploads_of_a_visitor_and_in_all_are_limited(tmp_path):
    log = tmp_path / "log"
    options = ("--max-upload-mb", "0.2", "--visitor-quota-mb", "0.5", "--total-quota-mb", "0.8")
    with serving(log, *options) as url:
        paths = []
        for number in range(40):
            cookie = {"Cookie": f"{COOKIE}={number // 10:024}"}
            status, body = upload(url, b"%02d" % number * 75_000, cookie)
            assert status == 200
            paths += json.loads(body)
        kept = [number for number, path in enumerate(paths) if Path(path).exists()]
        assert kept == [28, 29, 37, 38, 39]
        assert sizes(log) == ([150_000] * len(kept), [])
        file = {"path": paths[0], "meta": META, "orig_name": "cat.jpg"}
        gone = called(
            url,
            ranking(url),
            [True, file, "embedded:photo", "", None],
            headers={"Cookie": f"{COOKIE}={0:024}"},
        )
        assert "cat.jpg isn&#x27;t kept any more. Drop it again." in gone[-1]["output"]["error"]
        several = b"".join(part(b"%d" % number * 60_000) for number in range(9))
        assert upload(url, several, whole=True)[0] == 413  # no more at a time than one photograph


def wait_until(true):
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_uploads_that_break_off_leave_nothing(tmp_path):
    log = tmp_path / "log"
    with serving(log, "--max-upload-mb", "1", "--total-quota-mb", "2") as url:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port)), timeout=SECONDS) as one:
                head = (
                    f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900000\r\n"
                )
                one.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
                one.sendall(part(b"0" * 500_000))
                wait_until(lambda: sizes(log)[1])
            wait_until(lambda: sizes(log) == ([], []))
        assert upload(url, b"0" * 900_000)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"X-Gradio-Server": "https://evil.example"},
        {"Forwarded": "host=evil.example;proto=https", "X-Forwarded-Server": "evil.example"},
    ],
)
def test_nobody_is_believed_to_be_a_proxy(address, headers):
    for path in ("", "config", "gradio_api/info"):
        status, body = fetch(address + path, headers=headers)
        assert status == 200
        assert b"evil.example" not in body
    assert json.loads(fetch(f"{address}config", headers=headers)[1])["root"] == address.rstrip("/")


def test_a_trusted_proxy_is_believed_and_nobody_types_models_behind_it(tmp_path):
    log = tmp_path / "log"
    with serving(log, "--trusted-proxy", "127.0.0.0/8") as url:
        headers = {"X-Forwarded-Host": "a.example, vitcam.example", "X-Forwarded-Proto": "https"}
        status, body = fetch(f"{url}config", headers=headers)
        assert status == 200
        assert json.loads(body)["root"] == "https://vitcam.example"
        (spec,) = [c["props"] for c in json.loads(body)["components"] if c["props"].get("elem_id") == "model"]
        assert spec["allow_custom_value"] is False
        page = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(page, timeout=SECONDS) as response:
            assert response.headers["Set-Cookie"].endswith("; Secure")


def test_who_asks_it_to_end_as_soon_as_it_answers_is_heard(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = f"host='127.0.0.1', port={port}, max_upload_mb=1, models_in_memory=1"
    lines = (
        "import os, signal",
        "from vitcam.app.policy import Policy",
        "from vitcam.app.server import serve",
        "end = lambda address: os.kill(os.getpid(), signal.SIGTERM)",
        f"serve(Policy(('embedded:photo',), False), {limits}, ready=end)",
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert not list(tmp_path.glob("vitcam-app-*"))


def test_a_proxy_is_no_name():
    result = CliRunner().invoke(program, ["app", "--trusted-proxy", "proxy.example"])
    assert result.exit_code == 1
    assert "given by its IP address or network, as 10.0.0.7" in result.output


def test_what_visitors_send_is_harmless_to_the_terminal(address, log):
    before = len(log.read_text())
    for event in json.loads(fetch(f"{address}config")[1])["dependencies"]:
        if event["backend_fn"]:
            asked(address, event["id"], ["\x1b]0;taken\x07\x9b2J"] * len(event["inputs"]))
    called(address, ranking(address), [True, None, "\x1b[2J", "\x1b[2J", None])
    text = log.read_bytes()[before:].decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_pages_of_other_sites_are_refused(address):
    name = address.removeprefix("http://").rstrip("/")
    assert fetch(f"{address}config", headers={"Host": "rebound.example"})[0] == 403
    assert fetch(f"{address}config", headers={"Origin": "https://evil.example"})[0] == 403
    assert fetch(f"{address}config", headers={"Origin": f"http://{name}"})[0] == 200


def part(content):
    """A file, as it is uploaded; its end isn't in it."""
    disposition = b'Content-Disposition: form-data; name="files"; filename="a.jpg"'
    return b"--x\r\n" + disposition + b"\r\n\r\n" + content + b"\r\n"


def upload(address, content, headers=None, whole=False):
    body = (content if whole else part(content)) + b"--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for _ in range(5):
        try:
            return fetch(f"{address}gradio_api/upload", body, {**kind, **(headers or {})})
        except urllib.error.URLError as error:
            # Who refuses an upload hangs up before all of it is there, at times before its answer is read.
            if not isinstance(error.reason, (BrokenPipeError, ConnectionResetError)):
                raise
    raise AssertionError("the app hangs up and says nothing")


def test_upload_limit(address):
    assert upload(address, b"0" * 1_000_000)[0] == 200
    assert upload(address, b"0" * 1_100_000)[0] == 413


def test_the_page_names_no_other_host(address):
    config = json.loads(fetch(f"{address}config")[1])
    assert config["analytics_enabled"] is False
    assert config["enable_queue"] is True
    for path in ("", "theme.css"):
        text = fetch(address + path)[1].decode()
        assert "fonts.googleapis.com" not in text
        assert "fonts.gstatic.com" not in text


def test_it_listens_on_this_machine_alone(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks which of our addresses would be used
        except OSError:
            pytest.skip("this machine is in no network")
        own = probe.getsockname()[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own, port), timeout=10)


def test_a_taken_port(address):
    port = address.rstrip("/").rpartition(":")[2]
    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(program, ["app", "--port", port])
    assert result.exit_code == 1
    assert f"Can't listen on 127.0.0.1:{port}" in result.output
    assert signal.getsignal(signal.SIGTERM) is before  # other programs' way to end is theirs again


def test_a_public_app_until_ctrl_c(tmp_path):
    log = tmp_path / "log"
    with serving(log, "--host", "0.0.0.0", end=signal.SIGINT) as url:
        assert answers(url)
        assert fetch(url + "config", headers={"Host": "vitcam.example"})[0] == 200
        assert fetch(url + "monitoring")[0] == 403
        (path,) = json.loads(upload(url, photo_path("cat").read_bytes())[1])
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        config = json.loads(fetch(f"{url}config")[1])
        (spec,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "model"]
        assert spec["allow_custom_value"] is False
        assert called(url, ranking(url), [True, file, "embedded:photo", "", None])[-1]["success"] is True
        refused = called(url, ranking(url), [True, file, "timm:vit_tiny_patch16_224@/etc/passwd", "", None])[
            -1
        ]
        assert "This server offers only embedded:photo" in refused["output"]["error"]


def test_help_says_who_may_do_what():
    text = " ".join(CliRunner().invoke(program, ["app", "--help"]).output.split())
    assert "Listens on this machine alone" in text
    assert "--max-upload-mb" in text


def test_without_gradio(monkeypatch):
    monkeypatch.setattr("vitcam.app.server.find_spec", lambda name: None)
    result = CliRunner().invoke(program, ["app"])
    assert result.exit_code == 1
    assert "pip install 'vitcam[app]'" in result.output

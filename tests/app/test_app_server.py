"""What the server answers to requests that the page never makes."""

import json
import signal
import socket
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from running import SECONDS, answers, serving
from typer.testing import CliRunner

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


def called(address, function, data):
    """What gradio's queue answers to a call that a page could make."""
    session = uuid.uuid4().hex
    call = {
        "data": data,
        "fn_index": function,
        "session_hash": session,
        "event_data": None,
        "trigger_id": None,
    }
    headers = {"Content-Type": "application/json"}
    status, body = fetch(f"{address}gradio_api/queue/join", json.dumps(call).encode(), headers)
    assert status == 200, body
    messages = []
    with urllib.request.urlopen(
        f"{address}gradio_api/queue/data?session_hash={session}", timeout=SECONDS
    ) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                messages.append(json.loads(line[6:]))
                if messages[-1]["msg"] == "process_completed":
                    return messages[-1]
    raise AssertionError(messages)


def ranking(address):
    """The number of the function that ranks classes, and its inputs."""
    config = json.loads(fetch(f"{address}config")[1])
    ids = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
    (function, *_) = [
        one
        for one in config["dependencies"]
        if len(one["outputs"]) == 2 and one["outputs"][1] == ids["model-classes"]
    ]
    assert ids["photograph"] in function["inputs"]
    return function["id"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(photo_path("cat")), "https://example.org/cat.jpg", "pyproject.toml"]
)
def test_only_what_was_uploaded_is_read(address, path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "cat.jpg"}
    answer = called(address, ranking(address), [True, file, "embedded:photo", "", None])
    assert answer["success"] is False
    assert "root:" not in json.dumps(answer)
    assert "cat ·" not in json.dumps(answer)


def test_pages_of_other_sites_are_refused(address):
    name = address.removeprefix("http://").rstrip("/")
    assert fetch(f"{address}config", headers={"Host": "rebound.example"})[0] == 403
    assert fetch(f"{address}config", headers={"Origin": "https://evil.example"})[0] == 403
    assert fetch(f"{address}config", headers={"Origin": f"http://{name}"})[0] == 200


def upload(address, content):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    return fetch(f"{address}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})


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
    result = CliRunner().invoke(program, ["app", "--port", port])
    assert result.exit_code == 1
    assert f"Can't listen on 127.0.0.1:{port}" in result.output


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
        assert called(url, ranking(url), [True, file, "embedded:photo", "", None])["success"] is True
        refused = called(url, ranking(url), [True, file, "timm:vit_tiny_patch16_224@/etc/passwd", "", None])
        assert "This server offers only embedded:photo" in refused["output"]["error"]


def test_help_says_who_may_do_what():
    text = " ".join(CliRunner().invoke(program, ["app", "--help"]).output.split())
    assert "Listens on this machine alone" in text
    assert "--max-upload-mb" in text


def test_without_gradio(monkeypatch):
    monkeypatch.setattr("vitcam.app.serving.find_spec", lambda name: None)
    result = CliRunner().invoke(program, ["app"])
    assert result.exit_code == 1
    assert "pip install 'vitcam[app]'" in result.output

"""Hubs that can't be reached, or don't have what is asked for: an error at once, and what to do."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from vitcam.errors import ModelError
from vitcam.models import load_model

HUB_SPECS = [
    "timm:vit_tiny_patch16_224",
    "hf:google/vit-base-patch16-224",
    "open_clip:RN50-quickgelu/cc12m",
]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


def use_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def empty_hub() -> Iterator[str]:
    """A hub that answers, and has nothing."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  the server's own naming

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("spec", HUB_SPECS)
def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: str) -> None:
    use_hub(monkeypatch, tmp_path, NOBODY)
    with pytest.raises(ModelError):
        load_model(spec)  # imports the vendor, which takes as long as the machine is busy
    start = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert time.perf_counter() - start < 10  # the hub's own client takes from 23 seconds up
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"Can't load {spec}: 127.0.0.1:9 can't be reached (")
    assert "refused" in first
    assert first.endswith("and the model isn't in the local cache.")
    assert second.startswith("Ways out: weights on this machine (")
    assert second.endswith("or embedded:photo, which needs no network.")
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("spec", HUB_SPECS)
def test_a_hub_without_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_hub: str, spec: str
) -> None:
    use_hub(monkeypatch, tmp_path, empty_hub)
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert str(caught.value).startswith(f"Can't load {spec}: ")
    assert "can't be reached" not in str(caught.value)
    assert "embedded:photo" in str(caught.value)


def test_what_is_in_the_cache_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    use_hub(monkeypatch, tmp_path, NOBODY)
    reference = timm.create_model("test_vit").eval()
    repository = tmp_path / f"models--{reference.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(reference.state_dict(), snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    images = torch.randn(1, 3, 160, 160)
    torch.testing.assert_close(load_model("timm:test_vit").module(images), reference(images))


def test_a_torchvision_download_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", NOBODY)
    # What opens addresses is made by whoever opens the first one, and keeps the proxies of that time.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load_model("torchvision:resnet18")
    first, second = str(caught.value).splitlines()
    assert first.startswith("Can't load torchvision:resnet18: https://download.pytorch.org/models/resnet18-")
    assert "can't be fetched" in first
    assert "refused" in first
    assert "torchvision:resnet18@FILE.pth" in second
    assert "embedded:photo" in second


def test_a_torchvision_download_that_was_cut_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision import models

    entry = models.ResNet18_Weights.DEFAULT
    cached = tmp_path / "hub" / "checkpoints" / entry.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a file")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ModelError, match=rf"torchvision:resnet18: .* or its local copy {cached} can't be read \("
    ):
        load_model("torchvision:resnet18")


def test_weights_that_timm_does_not_have() -> None:
    with pytest.raises(ModelError, match=r"vit_giant_patch14_224: timm has no weights for it\. Expected"):
        load_model("timm:vit_giant_patch14_224")

"""timm's models, local checkpoints, and the model that comes with vitcam."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from vitcam.errors import ModelError
from vitcam.models import device, load_model

IMAGES = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))


def tiny(**options: object) -> torch.nn.Module:
    return timm.create_model("test_vit", **options).eval()


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timm") / "ten.safetensors"
    save_file(tiny(num_classes=10).state_dict(), path)
    return path


def test_random_weights() -> None:
    model = load_model("timm:test_vit", pretrained=False)
    assert type(model.module) is type(tiny())
    assert not model.module.training
    assert model.spec == "timm:test_vit"
    assert model.preprocessing.size == (160, 160)
    assert model.class_index("tabby") == 281
    assert model.wordnet_ids is not None
    assert model.wordnet_ids[281] == ("n02123045",)
    assert model.module(IMAGES).shape == (2, 1000)
    assert load_model("timm:test_vit", pretrained=False, num_classes=7).module(IMAGES).shape == (2, 7)


def test_a_tag_decides_the_classes() -> None:
    larger = load_model("timm:vit_tiny_patch16_224.augreg_in21k", pretrained=False)
    assert larger.class_names is not None
    assert len(larger.class_names) == 21843


def test_the_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    # "meta", which is refused else, is the one device besides the CPU that every machine has.
    monkeypatch.setattr(device, "find_device", torch.device)
    model = load_model("timm:test_vit", pretrained=False, device="meta")
    assert {parameter.device.type for parameter in model.module.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("suffix", "wrapped"),
    [
        ("safetensors", "plain"),
        ("safetensors", "compiled"),
        ("pth", "plain"),
        ("bin", "state_dict"),
        ("pth", "model"),
        ("pth", "state_dict_ema"),
        ("pt", "parallel"),
    ],
)
def test_a_checkpoint_of_ten_classes(tmp_path: Path, suffix: str, wrapped: str) -> None:
    reference = tiny(num_classes=10)
    weights = reference.state_dict()
    prefix = {"parallel": "module.", "compiled": "_orig_mod.module."}.get(wrapped, "")
    content: dict[str, object] = {prefix + name: weight for name, weight in weights.items()}
    path = tmp_path / f"checkpoint.{suffix}"
    if suffix == "safetensors":
        save_file(content, path)
    else:
        if wrapped in ("state_dict", "model", "state_dict_ema"):
            content = {wrapped: content, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
        if wrapped == "state_dict_ema":
            content["state_dict"] = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        torch.save(content, path)
    model = load_model(f"timm:test_vit@{path}")
    torch.testing.assert_close(model.module(IMAGES), reference(IMAGES), rtol=0, atol=0)
    assert model.class_names is None
    assert model.spec == f"timm:test_vit@{path}"
    assert "state_dict" not in model.module.pretrained_cfg


def test_a_checkpoint_of_another_input_size(tmp_path: Path) -> None:
    path = tmp_path / "larger.safetensors"
    save_file(tiny(img_size=224).state_dict(), path)
    model = load_model(f"timm:test_vit@{path}")
    assert model.module(IMAGES).shape == (2, 1000)
    assert model.class_names is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vit_base_patch16_22",
            r"timm has no model called 'vit_base_patch16_22'\. Nearest: vit_base_patch16_224",
        ),
        (
            "vit_tiny_patch16_224.augre",
            r"timm has no weights for vit_tiny_patch16_224 called 'augre'\. Nearest: augreg_in21k",
        ),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"Can't load timm:{name}: {message}"):
        load_model(f"timm:{name}", pretrained=False)


def test_files_that_are_no_checkpoints(tmp_path: Path, ten: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            load_model(f"timm:test_vit@{path}")
        assert str(caught.value).startswith(f"Can't load timm:test_vit@{path}: ")

    refused(tmp_path / "gone.pth", r"gone\.pth doesn't exist\. Expected a file of weights")
    refused(tmp_path, r"is a folder\. Expected a file of weights")
    for name in ("cut.safetensors", "cut.pth"):
        path = tmp_path / name
        if name.endswith(".pth"):
            torch.save(tiny(num_classes=10).state_dict(), path)
        else:
            path.write_bytes(ten.read_bytes())
        path.write_bytes(path.read_bytes()[:-1000])
        refused(path, rf"{name} can't be read as weights: it is truncated, damaged or no checkpoint \(")
    (tmp_path / "text.pth").write_text("hello")
    refused(
        tmp_path / "text.pth", r"text\.pth can't be read as weights: it is truncated, damaged or no checkp"
    )
    (tmp_path / "empty.safetensors").touch()
    refused(tmp_path / "empty.safetensors", "can't be read as weights")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(
        tmp_path / "list.pth",
        r"holds no weights by name, but list\. Save them with torch\.save\(model\.state",
    )
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    refused(tmp_path / "none.pth", "holds no weights by name")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"model": Evil()}, tmp_path / "evil.bin")
    for file in (path, tmp_path / "evil.bin"):
        with pytest.raises(ModelError, match="holds Python objects beside them, which vitcam never runs"):
            load_model(f"timm:test_vit@{file}")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_architecture(tmp_path: Path, ten: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(f"timm:vit_tiny_patch16_224@{ten}")
    text = str(caught.value)
    assert text.startswith(f"Can't load timm:vit_tiny_patch16_224@{ten}: the weights don't fit the model.\n")
    assert 'Missing key(s) in state_dict: "blocks.6.norm1.weight", "blocks.6.norm1.bias", ' in text
    assert "more)\n" in text
    assert "from checkpoint, the shape in current model is torch.Size([1, 1, 192]).\n" in text
    assert len(text.splitlines()) < 12
    assert "The file must be from this architecture" in text


def test_a_headless_checkpoint_is_not_given_a_random_head(tmp_path: Path) -> None:
    path = tmp_path / "headless.safetensors"
    save_file(tiny(num_classes=0).state_dict(), path)
    with pytest.raises(ModelError, match=r'Missing key\(s\) in state_dict: "head\.weight", "head\.bias"'):
        load_model(f"timm:test_vit@{path}")


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_an_old_name_of_timms(tmp_path: Path) -> None:
    path = tmp_path / "ten.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=10).state_dict(), path)
    assert load_model(f"timm:vit_tiny_patch16_224_in21k@{path}").module.num_classes == 10

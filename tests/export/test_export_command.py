"""``vitcam export``, on the embedded model."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

import vitcam
from vitcam.photos import photo_path


@pytest.fixture(scope="module")
def command():
    from vitcam.cli.program import program

    return lambda *arguments: CliRunner().invoke(
        program, ["export", *map(str, arguments)], prog_name="vitcam"
    )


@pytest.fixture(scope="module")
def exported(command, tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "photo.onnx"
    return path, command("-o", path)


def test_it_says_how_close_it_is_and_what_it_costs(exported):
    _, result = exported
    assert result.exit_code == 0, result.output
    assert re.search(
        r"photo.onnx \(4\d MB\) answers as PyTorch does: heatmaps within \de-0[4-9]", result.stdout
    )
    assert re.search(
        r"one thread: [\d.]+ ms for logits alone, [\d.]+ ms with heatmaps: \d\.\d\d×", result.stdout
    )


def test_file_alone_explains_a_photograph(exported):
    """As somebody would who has neither vitcam nor PyTorch, but for the preparation of the photograph."""
    path, _ = exported
    described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    model = vitcam.load_model("embedded:photo")
    images = model.preprocess(photo_path("cat")).numpy()
    session = onnxruntime.InferenceSession(path)
    logits, targets, heatmaps = session.run(None, {"images": images})
    assert described["class_names"][targets[0, 0]] == described["class_names"][logits.argmax()] == "cat"
    assert heatmaps.shape == (1, 1, *described["grid"])
    cat = vitcam.explain(model, photo_path("cat"), targets="cat")
    np.testing.assert_allclose(heatmaps, cat.heatmaps.numpy(), atol=1e-4 * float(cat.heatmaps.max()))


def test_file_holds_every_weight_once(exported):
    weights = sum(weight.numel() for weight in vitcam.load_model("embedded:photo").module.parameters())
    held = sum(np.prod(initializer.dims) for initializer in onnx.load(exported[0]).graph.initializer)
    assert weights < held < 1.01 * weights


def test_what_cannot_be_exported_is_said_in_one_line(command, tmp_path):
    result = command("--method", "lrp", "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: 'lrp' can't be exported. What can: agcam (options: layers, ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def asked(monkeypatch):
    """What the command would export; nothing is."""
    calls = []

    def export_onnx(model, path, method, classes, image_size):
        calls.append((model, path.name, method, classes, image_size))
        raise vitcam.export.ExportError("nothing is exported here")

    monkeypatch.setattr(vitcam.export, "export_onnx", export_onnx)
    return calls


@pytest.mark.parametrize(("size", "read"), [("224", (224, 224)), ("160x240", (160, 240))])
def test_size_is_height_by_width(command, asked, size, read):
    command("--size", size, "--method", "attention(layer=0)", "-o", "m.onnx")
    assert [call[1:] for call in asked] == [("m.onnx", "attention(layer=0)", "top1", read)]


def test_texts_are_a_clip_s_classes(command, asked, monkeypatch):
    from vitcam.models import load
    from vitcam.models.promptable import ImageTower

    embedded = vitcam.load_model("embedded:photo")
    clip = vitcam.LoadedModel(
        ImageTower(embedded.module, torch.tensor(20.0)),
        embedded.preprocessing,
        text_encoder=lambda texts: torch.eye(62)[: len(texts)],
    )
    monkeypatch.setattr(load, "load_model", lambda spec: clip)
    command("--text", "a cat", "--text", "a cup", "-o", "m.onnx")
    assert asked[0][0].class_names == ("a cat", "a cup")


def test_what_is_asked_for_wrongly_is_said_in_one_line(command, asked):
    result = command("--size", "large", "-o", "m.onnx")
    assert result.exit_code == 2
    assert "expected pixels, as 384 or 480x640, got 'large'" in " ".join(result.stderr.split())
    result = command("--text", "a cat", "-o", "m.onnx")
    assert result.exit_code == 2
    assert "embedded:photo can't be asked about texts: it has classes of its own" in result.stderr
    assert not asked
